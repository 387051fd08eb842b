"""Privacy of a site against whoever sees the shared adapter: the server clips, adds up, adds noise.

DP-FedAvg (McMahan et al., arXiv:1710.06963, algorithm 1) with the estimator of fixed denominator:

    sum_k clip(u_k, C) + N(0, (z C)^2),  divided by a public number

What one site adds to the sum has a norm of at most C, whatever its number of examples, which is not
used: every site has weight 1. Noise of z C / n on a mean weighted by examples, as others have it,
would be too little, because the largest weight is more than 1 / n.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from fedbench.privacy.clipping import clipped
from fedbench.privacy.noise import Source, noised
from fedbench.rules.rule import Contribution, Reduced

if TYPE_CHECKING:
    from fedbench.wire import Schema


def private_sum(
    contributions: Iterator[Contribution],
    schema: Schema,
    clip: float,
    noise: float,
    denominator: float,
    source: Source,
) -> Reduced:
    """The noised sum of clipped updates; that of nobody is noise.

    Args:
        contributions: one at a time; their weights are not used.
        schema: of which tensors they consist.
        clip: most that one may add, as the norm of all its tensors together.
        noise: standard deviation of the noise in units of ``clip``.
        denominator: public weight of the sum, such as the expected size of a cohort.
        source: of the noise.
    """
    # In fp64: rounding of a sum in fp32 would let a site of a large cohort move it by more.
    total = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in schema}
    for contribution in contributions:
        for name, tensor in clipped(contribution.tensors, clip).items():
            total[name].add_(tensor)
    found = noised(total, noise * clip, source)
    return Reduced({name: tensor.float() for name, tensor in found.items()}, denominator)
