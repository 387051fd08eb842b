"""A codec: stages in a row, each going on with what the one before has left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from fedbench.wire.codecs.stage import Coded, Shapes, Stage

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fedbench.wire.codecs.stage import Random, Tensors
    from fedbench.wire.schema import Schema

    #: name, shape and type of every part that is sent, in order
    Layout = tuple[tuple[str, tuple[int, ...], torch.dtype], ...]


@dataclass(frozen=True)
class Codec:
    """How tensors are compressed; ``decode`` returns fp32."""

    name: str
    stages: tuple[Stage, ...]  #: the last one leaves nothing
    feedback: bool = False  #: whether what was lost is kept, and sent with what comes next
    delta: bool = False  #: whether what is sent is the change of what the other end holds

    @property
    def differences(self) -> bool:
        """Whether it can be used only for what is zero where nothing changed."""
        return self.feedback or any(stage.differences for stage in self.stages)

    @property
    def additive(self) -> bool:
        """Whether what several sites send could as well be sent as their sum."""
        return all(stage.additive for stage in self.stages)

    def encode(self, tensors: Tensors, random: Random) -> dict[str, Tensor]:
        """The parts that are sent; their shapes and types are those of :meth:`layout`."""
        parts: dict[str, Tensor] = {}
        left: Tensors = {name: tensors[name] for name in sorted(tensors)}
        for number, stage in enumerate(self.stages):
            left, own = stage.encode(left, random)
            parts |= {f"{number}/{name}": part for name, part in own.items()}
        return parts

    def decode(self, parts: Tensors, schema: Schema) -> dict[str, Tensor]:
        """The tensors of ``schema``, as far as ``parts`` tell them.

        Raises:
            ValueError, KeyError: these parts do not belong to such tensors.
        """
        left: dict[str, Tensor] = {}
        for number, (stage, shapes) in reversed([*enumerate(_traced(self, schema)[0])]):
            own = {name.partition("/")[2]: part for name, part in parts.items()
                   if name.startswith(f"{number}/")}  # fmt: skip
            left = stage.decode(Coded(left, own), shapes)
        return left

    def layout(self, schema: Schema) -> Layout:
        """What :meth:`encode` makes of tensors of this schema, whatever their values."""
        return _traced(self, schema)[1]

    def n_bytes(self, schema: Schema) -> int:
        """Bytes of all parts."""
        import math

        return sum(math.prod(shape) * kind.itemsize for _, shape, kind in self.layout(schema))


@lru_cache(maxsize=64)
def _traced(codec: Codec, schema: Schema) -> tuple[tuple[tuple[Stage, Shapes], ...], Layout]:
    """Every stage with the shapes it starts from, and the layout of what is sent."""
    import numpy as np
    import torch

    random = np.random.default_rng(0)
    left: Mapping[str, Tensor] = {name: torch.zeros(shape) for name, shape in schema}
    steps, layout = [], []
    for number, stage in enumerate(codec.stages):
        steps.append((stage, {name: tuple(tensor.shape) for name, tensor in left.items()}))
        left, own = stage.encode(left, random)
        layout += [(f"{number}/{n}", tuple(part.shape), part.dtype) for n, part in own.items()]
    return tuple(steps), tuple(layout)
