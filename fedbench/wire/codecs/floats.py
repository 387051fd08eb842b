"""Plain floating point, in full or half width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fedbench.wire.codecs.codec import Codec

if TYPE_CHECKING:
    from torch import Tensor


def _full(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in tensors.items()}


def _half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.half() for name, tensor in tensors.items()}


FP32 = Codec("fp32", _full, _full)
FP16 = Codec("fp16", _half, _full)
