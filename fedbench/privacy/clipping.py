"""Clipping: nobody moves the sum further than a public limit."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from fedbench.errors import FedbenchError

#: less than a limit by more than fp32 can lose when a vector is scaled to it
_WITHIN = 1 - 1e-6


def norm(tensors: Mapping[str, Tensor]) -> float:
    """Euclidean norm of all tensors together, summed in fp64."""
    norms = (torch.linalg.vector_norm(t, dtype=torch.float64) for t in tensors.values())
    return math.sqrt(math.fsum(float(each) ** 2 for each in norms))


def clipped(tensors: Mapping[str, Tensor], limit: float) -> dict[str, Tensor]:
    """The tensors, scaled so that the norm of all of them together is at most ``limit``.

    Abadi et al. (arXiv:1607.00133, algorithm 1); McMahan et al. (arXiv:1710.06963, section 3) clip
    what a user sends in this way.

    Raises:
        FedbenchError: a number is not finite, so that no factor would bound it.
    """
    length = norm(tensors)
    if not math.isfinite(length):
        bad = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
        raise FedbenchError(
            f"{(bad or ['What is clipped'])[0]} is not finite, and no factor would bound it: lower "
            "the learning rate."
        )
    if length <= limit:
        return dict(tensors)
    return {name: tensor * (limit / length * _WITHIN) for name, tensor in tensors.items()}
