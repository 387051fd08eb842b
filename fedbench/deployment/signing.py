"""Signatures of what sites send: whoever else is in between, an answer is by whose key signed it.

Flower's own proof of a node covers the time of a request and not what it carries.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)

from fedbench.engines.over_flower import Unproven

_ABOUT = b"fedbench: an answer of a site\0"
_BY = ECDSA(hashes.SHA256())


def signature(key: EllipticCurvePrivateKey, payload: bytes) -> bytes:
    """What proves that the holder of ``key`` sends ``payload``."""
    return key.sign(_ABOUT + payload, _BY)


def check(key: EllipticCurvePublicKey, payload: bytes, said: bytes) -> None:
    """Make sure that the holder of a key sent a payload.

    Raises:
        Unproven: somebody else did, or it was altered.
    """
    try:
        key.verify(said, _ABOUT + payload, _BY)
    except InvalidSignature:
        raise Unproven(
            "Its answer is not signed by its key: it was altered, or is by somebody else."
        ) from None


def name_of(key: EllipticCurvePublicKey) -> str:
    """The SHA-256 of a public key, by which both ends name it."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()
