"""Norm clipping (Sun et al., arXiv:1911.07963, section 4): no update is longer than a bound.

The norm is over all tensors together. The bound is ``norm``, or, where that is 0, the median norm
of the round's updates. What is clipped is then averaged as under FedAvg.
"""

from __future__ import annotations

from fedbench.rules.robust import robust
from fedbench.rules.rule import Rule, State
from fedbench.rules.stacked import Stacked


def norm_clipping(norm: float = 0.0) -> Rule:
    """FedAvg of updates that are shortened to ``norm``, or to their median norm.

    Raises:
        ValueError: ``norm`` is negative.
    """
    if norm < 0:
        raise ValueError("norm must not be negative")

    def combine(stacked: Stacked) -> State:
        nothing = {name: update.new_zeros(()) for name, update in stacked.updates.items()}
        norms = stacked.squares(nothing).sqrt()
        bound = norm or norms.quantile(0.5).item()
        shortened = (bound / norms.clamp(min=1e-12)).clamp(max=1.0)
        return stacked.mean(stacked.weights * shortened)

    return robust("norm-clipping", combine)
