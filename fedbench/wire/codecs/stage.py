"""The interface of a stage, of which codecs are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Tensors = Mapping[str, Tensor]
    Random = np.random.Generator

Shapes = Mapping[str, tuple[int, ...]]


class Coded(NamedTuple):
    """What a stage makes of tensors: what is left to the next stage, and what is sent as it is."""

    left: Tensors  #: fp32
    parts: Tensors  #: of any type; shapes and types depend on those of the tensors alone


@dataclass(frozen=True)
class Stage:
    """A pair of functions on fp32 tensors by name, pure but for what ``encode`` draws at random."""

    encode: Callable[[Tensors, Random], Coded]
    #: of what the next stage gave back, what was sent as it is, and the shapes to give back
    decode: Callable[[Coded, Shapes], dict[str, Tensor]]
    #: whether it leaves anything to a stage after it
    leaves: bool = False
    #: whether it has a meaning only where zero means that nothing changed
    differences: bool = False
    #: whether what it sends of several sites could as well be sent as their sum
    additive: bool = True
