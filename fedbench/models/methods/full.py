"""Full fine-tuning: every parameter of the backbone is trained and travels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedbench.models.methods.method import Method

if TYPE_CHECKING:
    from torch import nn

    from fedbench.config import RunConfig
    from fedbench.models.families import Family


def attach(backbone: nn.Module, family: Family, config: RunConfig) -> nn.Module:
    """Make every parameter trainable."""
    return backbone.requires_grad_(True)


def detach(model: nn.Module) -> nn.Module:
    """Freeze the backbone again."""
    return model.requires_grad_(False)


FULL = Method("full", ("plain",), attach, detach)
