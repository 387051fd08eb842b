"""Shares of secrets: any t of n give the secret back, fewer say nothing of it; sent encrypted.

Shamir, "How to share a secret" (1979), as pycryptodome has it: over GF(2^128), so that a secret is
shared in blocks of 16 bytes, all with the same index. On their way shares are sealed with
ChaCha20-Poly1305 (RFC 8439).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from Crypto.Protocol.SecretSharing import Shamir
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fedbench.secure_aggregation.messages import BadExchange

_BLOCK = 16  #: bytes that pycryptodome shares at a time
_NONCE = 12
_TAG = 16
OVERHEAD = _NONCE + _TAG  #: bytes that sealing adds


def split(secret: bytes, threshold: int, count: int) -> list[bytes]:
    """Shares with the indices 1 to ``count``, each as long as the secret (a multiple of 16)."""
    blocks = [
        [share for _, share in Shamir.split(threshold, count, each, ssss=False)]
        for each in _blocks(secret)
    ]
    return [b"".join(of_one) for of_one in zip(*blocks, strict=True)]


def combined(shares: Mapping[int, bytes]) -> bytes:
    """The secret of exactly as many shares as the threshold, by index.

    Shares that are too few, or were altered, give other bytes and no error.
    """
    blocks = zip(*map(_blocks, shares.values()), strict=True)
    return b"".join(
        Shamir.combine(list(zip(shares, each, strict=True)), ssss=False) for each in blocks
    )


def _blocks(content: bytes) -> list[bytes]:
    return [content[start : start + _BLOCK] for start in range(0, len(content), _BLOCK)]


def sealed(key: bytes, info: bytes, share: bytes) -> bytes:
    """The share, encrypted and authenticated, with ``info`` saying whose for whom it is."""
    nonce = secrets.token_bytes(_NONCE)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, share, info)


def opened(key: bytes, info: bytes, blob: bytes, sender: str) -> bytes:
    """The share in ``blob``.

    Raises:
        BadExchange: it was altered, or is for another site, round or attempt.
    """
    try:
        return ChaCha20Poly1305(key).decrypt(blob[:_NONCE], blob[_NONCE:], info)
    except InvalidTag:
        raise BadExchange(
            f"The share that {sender} sent was altered on its way, or is not for this site and "
            "attempt: this site takes no part."
        ) from None
