"""The interface of a method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedbench.config import Compute, RunConfig
from fedbench.models.families import Family

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Method:
    """How a backbone becomes trainable.

    ``attach`` marks or inserts the trainable tensors and returns the model to call; ``detach``
    takes that model and gives the bare backbone back. Restoring values is the caller's.
    """

    name: str
    computes: tuple[Compute, ...]  #: ways the backbone may multiply; the first is the default
    attach: Callable[[nn.Module, Family, RunConfig], nn.Module]
    detach: Callable[[nn.Module], nn.Module]
