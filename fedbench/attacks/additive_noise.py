"""Additive noise: the honest update and normal noise about as long as it.

After the Gaussian attack (Blanchard et al., NeurIPS 2017), whose sites send noise alone.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from fedbench.attacks.attack import Attack

if TYPE_CHECKING:
    import numpy as np

    from fedbench.rules.rule import Contribution


def additive_noise(std: float = 1.0) -> Attack:
    """Noise whose root mean square norm is ``std`` times the norm of the honest update.

    Both norms are over all tensors together; every number gets the same standard deviation.

    Raises:
        ValueError: ``std`` is negative.
    """
    if std < 0:
        raise ValueError("std must not be negative")

    def update(contribution: Contribution, random: np.random.Generator) -> Contribution:
        import torch

        tensors = contribution.tensors
        norm = math.sqrt(sum(t.double().square().sum().item() for t in tensors.values()))
        each = std * norm / math.sqrt(max(1, sum(t.numel() for t in tensors.values())))
        noisy = {
            name: tensors[name]
            + torch.from_numpy(each * random.standard_normal(tensors[name].shape)).to(tensors[name])
            for name in sorted(tensors)
        }
        return replace(contribution, tensors=noisy)

    return Attack(update=update, differences=True)
