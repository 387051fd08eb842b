"""Tensors that do not fit those of other sites: a server must refuse them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fedbench.attacks.attack import Attack

if TYPE_CHECKING:
    import numpy as np

    from fedbench.rules.rule import Contribution


def wrong_shape() -> Attack:
    """Every tensor with its first row once more at the end."""
    return Attack(update=_longer)


def _longer(contribution: Contribution, random: np.random.Generator) -> Contribution:
    import torch

    longer = {name: torch.cat([t, t[:1]]) for name, t in contribution.tensors.items()}
    return replace(contribution, tensors=longer)
