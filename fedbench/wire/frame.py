"""The outside of a payload: what makes bytes recognisable, whole and unaltered.

A payload is ``FEDB``, a version byte, the SHA-256 of the rest, the length of a JSON header, the
header, and a body. A checksum notices damage, not malice: whoever writes a payload can seal it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fedbench.errors import FedbenchError

_MAGIC = b"FEDB\x02"
_HASH = hashlib.sha256().digest_size
_START = len(_MAGIC) + _HASH
FOREIGN = "A payload is whole, but was not written by fedbench."


class BadPayload(FedbenchError):
    """These bytes are no payload of ours, were damaged on their way, or do not fit."""


def framed(header: Mapping[str, Any], body: bytes) -> bytes:
    """The payload of a header of JSON values and a body."""
    head = json.dumps(header, sort_keys=True).encode()
    lead = len(head).to_bytes(4, "big") + head
    checksum = hashlib.sha256(lead)
    checksum.update(body)
    return b"".join((_MAGIC, checksum.digest(), lead, body))


def opened(payload: bytes) -> tuple[dict[str, Any], memoryview]:
    """Header and body.

    Raises:
        BadPayload: foreign, truncated, damaged, or of another version.
    """
    if payload[: len(_MAGIC)] != _MAGIC:
        raise BadPayload("These bytes are not a payload of this version of fedbench.")
    rest = memoryview(payload)[_START:]
    if hashlib.sha256(rest).digest() != payload[len(_MAGIC) : _START]:
        raise BadPayload("A payload was truncated or damaged: its checksum does not match.")
    size = int.from_bytes(rest[:4], "big")
    try:
        header = json.loads(bytes(rest[4 : 4 + size]))
    except (ValueError, RecursionError):
        raise BadPayload(FOREIGN) from None
    if not isinstance(header, dict):
        raise BadPayload(FOREIGN)
    return header, rest[4 + size :]


def seal(payload: bytes) -> str:
    """Sixteen hexadecimal digits of a payload's checksum, by which its reply refers to it."""
    return payload[len(_MAGIC) : _START].hex()[:16]
