"""The interface of a codec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Codec:
    """A pair of pure functions on tensors by name; ``decode`` returns fp32."""

    name: str
    encode: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    decode: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
