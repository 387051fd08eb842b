"""IA3: learned rescaling of keys, values and feed-forward activations (arXiv:2205.05638, 3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedbench.models.methods.method import Method
from fedbench.models.methods.peft import inject, remove

if TYPE_CHECKING:
    from torch import nn

    from fedbench.config import RunConfig
    from fedbench.models.families import Family


def attach(backbone: nn.Module, family: Family, config: RunConfig) -> nn.Module:
    """Insert one vector of ones per key, value and feed-forward output projection."""
    from peft import IA3Config

    return inject(
        backbone,
        IA3Config(
            target_modules=[family.key, family.value, family.feedforward_out],
            feedforward_modules=[family.feedforward_out],
            task_type="CAUSAL_LM",
        ),
    )


IA3 = Method("ia3", ("plain",), attach, remove)
