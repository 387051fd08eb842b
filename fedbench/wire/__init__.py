"""Payloads: the bytes that cross the wire, and nothing else crosses it.

A payload is ``FEDB``, a version byte, the SHA-256 of the rest, then a JSON header and the tensors
as safetensors. Whatever is wrong with one, reading it raises :class:`BadPayload`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from fedbench.errors import FedbenchError
from fedbench.phases import phase
from fedbench.wire.codecs import CODECS

if TYPE_CHECKING:
    from torch import Tensor

_MAGIC = b"FEDB\x01"
_HASH = hashlib.sha256().digest_size
_FOREIGN = "A payload is whole, but was not written by fedbench."


class BadPayload(FedbenchError):
    """These bytes are no payload of ours, or were damaged on their way."""


def encode(header: Mapping[str, Any], tensors: Mapping[str, Tensor], codec: str = "fp32") -> bytes:
    """Serialise a header of JSON values and tensors, compressed by ``codec``."""
    return framed(header, packed(tensors, codec), codec)


def packed(tensors: Mapping[str, Tensor], codec: str) -> bytes:
    """The part of a payload that holds its tensors, the same under any header."""
    # Imported here because the registry of codecs, below this module, is read without torch.
    from safetensors.torch import save as save_safetensors

    with phase("wire"):
        compressed = CODECS[codec].encode(tensors)
        # safetensors refuses tensors that share memory, as a rule's state and its adapter may.
        return save_safetensors({name: t.contiguous().clone() for name, t in compressed.items()})


def framed(header: Mapping[str, Any], tensors: bytes, codec: str) -> bytes:
    """The payload of a header and of tensors that :func:`packed` has written with ``codec``."""
    head = json.dumps({**header, "codec": codec}, sort_keys=True).encode()
    with phase("wire"):
        lead = len(head).to_bytes(4, "big") + head
        checksum = hashlib.sha256(lead)
        checksum.update(tensors)
        return b"".join((_MAGIC, checksum.digest(), lead, tensors))


def decode(payload: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a payload.

    Raises:
        BadPayload: foreign, truncated, damaged, or of another version.
    """
    with phase("wire"):
        return _decode(payload)


def header_of(payload: bytes) -> dict[str, Any]:
    """Header alone; the tensors are checked to be whole and not read.

    Raises:
        BadPayload: foreign, truncated, damaged, or of another version.
    """
    with phase("wire"):
        return _split(payload)[0]


def _decode(payload: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors.torch import load as load_safetensors

    header, packed = _split(payload)
    try:
        return header, CODECS[header["codec"]].decode(load_safetensors(packed))
    except (ValueError, TypeError, KeyError, SafetensorError):
        raise BadPayload(_FOREIGN) from None


def _split(payload: bytes) -> tuple[dict[str, Any], bytes]:
    start = len(_MAGIC) + _HASH
    if payload[: len(_MAGIC)] != _MAGIC:
        raise BadPayload("These bytes are not a payload of this version of fedbench.")
    body = payload[start:]
    if hashlib.sha256(body).digest() != payload[len(_MAGIC) : start]:
        raise BadPayload("A payload was truncated or damaged: its checksum does not match.")
    size = int.from_bytes(body[:4], "big")
    try:
        return dict(json.loads(body[4 : 4 + size])), body[4 + size :]
    except (ValueError, TypeError):
        raise BadPayload(_FOREIGN) from None
