"""Plain floating point, in full or half width."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedbench.wire.codecs.stage import Coded, Shapes, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from fedbench.wire.codecs.stage import Random, Tensors


def fp32() -> Stage:
    """Every number as it is."""
    return Stage(_full, _widened)


def fp16() -> Stage:
    """Half width: 11 bits of precision, from 6e-8 to 65504."""
    return Stage(_half, _widened)


def bf16() -> Stage:
    """Half width: 8 bits of precision, with the range of fp32."""
    return Stage(_brain, _widened)


def _full(tensors: Tensors, random: Random) -> Coded:
    return Coded({}, {name: tensor.float() for name, tensor in tensors.items()})


def _half(tensors: Tensors, random: Random) -> Coded:
    return Coded({}, {name: tensor.half() for name, tensor in tensors.items()})


def _brain(tensors: Tensors, random: Random) -> Coded:
    return Coded({}, {name: tensor.bfloat16() for name, tensor in tensors.items()})


def _widened(coded: Coded, shapes: Shapes) -> dict[str, Tensor]:
    return {name: coded.parts[name].float() for name in shapes}
