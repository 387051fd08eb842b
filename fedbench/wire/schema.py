"""Which tensors a payload holds: names and shapes, told once, and a digest that stands for them.

The header of a safetensors file tells as much with every payload: for the 70 tensors of a small
adapter that is 9 kB each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

from fedbench.hashing import sha256_json, short
from fedbench.wire.frame import FOREIGN, BadPayload

if TYPE_CHECKING:
    from torch import Tensor

_LARGE = 1 << 31  #: more than any dimension of a tensor of ours
_MOST_SIZES = 64  #: dimensions of a tensor
_MOST, _LONGEST = 20_000, 1000  #: tensors, and letters of a name: a site keeps a few schemas
#: name and shape of every tensor, sorted by name
Schema = tuple[tuple[str, tuple[int, ...]], ...]


def schema_of(tensors: Mapping[str, Tensor]) -> Schema:
    """What ``tensors`` are, without their values."""
    return tuple((name, tuple(tensors[name].shape)) for name in sorted(tensors))


@lru_cache(maxsize=64)
def digest(schema: Schema) -> str:
    """Sixteen hexadecimal digits that stand for a schema; none for that of no tensors."""
    return short(sha256_json(schema)) if schema else ""


def count(schema: Schema) -> int:
    """Numbers that tensors of this schema hold."""
    return sum(prod(shape) for _, shape in schema)


def read(told: Any) -> Schema:
    """A schema as JSON tells it.

    Raises:
        BadPayload: it is no schema.
    """
    try:
        if len(told) > _MOST:
            raise ValueError
        found = tuple((_name(name), _shape(shape)) for name, shape in told)
    except (TypeError, ValueError):
        raise BadPayload(FOREIGN) from None
    if len({name for name, _ in found}) < len(found):
        raise BadPayload("A payload's schema names a tensor twice.")
    return found


def _name(told: Any) -> str:
    if not isinstance(told, str) or len(told) > _LONGEST:
        raise ValueError
    told.encode()  # a ValueError for half a character
    return told


def _shape(told: Any) -> tuple[int, ...]:
    sizes = isinstance(told, list | tuple) and len(told) <= _MOST_SIZES
    if not sizes or not all(type(size) is int and 0 <= size < _LARGE for size in told):
        raise ValueError
    return tuple(told)
