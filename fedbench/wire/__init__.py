"""Payloads: the bytes that cross the wire, and nothing else crosses it.

A payload says in its header which tensors it holds, by the digest of a schema, and in which codec;
its body is their values and nothing else. The schema itself is told once to whoever does not know
it. Whatever is wrong with a payload, reading it raises :class:`BadPayload`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from fedbench.errors import FedbenchError
from fedbench.phases import phase
from fedbench.wire import schema as schemas
from fedbench.wire.codecs import Codec, codec_of
from fedbench.wire.frame import FOREIGN, BadPayload, framed, opened, seal
from fedbench.wire.schema import Schema, schema_of

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = [
    "BadPayload",
    "Schema",
    "body_of",
    "decode",
    "encode",
    "framed",
    "longest",
    "opened",
    "packed",
    "schema_of",
    "seal",
    "tensors_of",
    "told_by",
]

#: more than any header takes, a schema told in it aside
_HEADER = 1 << 16


def encode(
    header: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    codec: Codec,
    random: np.random.Generator,
    known: Collection[str] = (),
) -> bytes:
    """Serialise a header of JSON values and tensors; tell their schema unless it is ``known``."""
    schema = schema_of(tensors)
    body = packed(codec.encode(tensors, random), codec, schema)
    return framed({**header, **told_by(schema, codec, known)}, body)


def told_by(schema: Schema, codec: Codec, known: Collection[str]) -> dict[str, Any]:
    """What a header says of the body: its codec, its schema's digest, and the schema if need be."""
    told: dict[str, Any] = {"codec": codec.name, "schema": schemas.digest(schema)}
    return told if not schema or told["schema"] in known else told | {"layout": schema}


def packed(parts: Mapping[str, Tensor], codec: Codec, schema: Schema) -> bytes:
    """What a codec has made of tensors of ``schema`` as the body of a payload."""
    import torch

    with phase("wire"):
        ordered = (parts[name].contiguous().reshape(-1) for name, _, _ in codec.layout(schema))
        return b"".join(part.view(torch.uint8).numpy().data for part in ordered if len(part))


def body_of(body: bytes | memoryview, codec: Codec, schema: Schema) -> dict[str, Tensor]:
    """The tensors of a body; the inverse of :func:`packed` and the codec.

    Raises:
        BadPayload: there are more or fewer bytes than such tensors take, or they make no sense.
    """
    import torch

    with phase("wire"):
        try:
            needed = codec.n_bytes(schema)
        except RuntimeError:  # no tensor has such a shape
            raise BadPayload(FOREIGN) from None
        if len(body) != needed:
            raise BadPayload(
                f"A payload's tensors take {len(body)} bytes, and those of its schema would take "
                f"{needed}."
            )
        parts, start = {}, 0
        for name, shape, kind in codec.layout(schema):
            stop = start + math.prod(shape) * kind.itemsize
            own = torch.frombuffer(bytearray(body[start:stop]), dtype=kind) if stop > start else (
                torch.empty(0, dtype=kind))  # fmt: skip
            parts[name], start = own.view(shape), stop
        try:
            return codec.decode(parts, schema)
        except (ValueError, KeyError, RuntimeError):
            raise BadPayload(FOREIGN) from None


def decode(
    payload: bytes, known: Mapping[str, Schema], most: float = math.inf
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a payload, whose schema it tells or is among the ``known`` ones.

    Args:
        payload: the bytes.
        known: schemas by digest.
        most: numbers that the tensors may hold at most; nothing is allocated for more.

    Raises:
        BadPayload: foreign, truncated, damaged, of another version, or oversized.
    """
    header, body = opened(payload)
    return header, tensors_of(header, body, known, most)


def tensors_of(
    header: Mapping[str, Any],
    body: bytes | memoryview,
    known: Mapping[str, Schema],
    most: float = math.inf,
) -> dict[str, Tensor]:
    """The tensors of an opened payload, as :func:`decode` gives them."""
    schema = _schema(header, known)
    if schemas.count(schema) > most:
        raise BadPayload(
            f"A payload tells of {schemas.count(schema)} numbers, and {most:.0f} are the most that "
            "have a meaning here."
        )
    return body_of(body, _codec(header), schema)


def longest(codec: Codec, schema: Schema) -> int:
    """Bytes that no payload of such tensors exceeds, if its receiver knows the schema."""
    return _HEADER + codec.n_bytes(schema)


def _schema(header: Mapping[str, Any], known: Mapping[str, Schema]) -> Schema:
    named = header.get("schema")
    if not named:
        return ()
    if not isinstance(named, str):
        raise BadPayload(FOREIGN)
    if "layout" in header:
        told = schemas.read(header["layout"])
        if schemas.digest(told) != named:
            raise BadPayload("A payload's schema is not the one that it names.")
        return told
    if named not in known:
        raise BadPayload(
            f"A payload refers to the schema {named[:16]}, which nobody has told here."
        )
    return known[named]


def _codec(header: Mapping[str, Any]) -> Codec:
    try:
        return codec_of(str(header.get("codec")))
    except FedbenchError:
        raise BadPayload(FOREIGN) from None
