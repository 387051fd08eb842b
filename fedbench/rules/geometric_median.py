"""RFA: the geometric median of updates (Pillutla et al., arXiv:1912.13445, algorithm 2).

The point with the least weighted sum of distances to the updates, by the smoothed Weiszfeld
algorithm: the mean is taken again and again, each update weighted by its number of examples over
its distance to the last mean.
"""

from __future__ import annotations

from fedbench.rules.robust import robust
from fedbench.rules.rule import Rule, State
from fedbench.rules.stacked import Stacked


def geometric_median(iterations: float = 8, smooth: float = 1e-6) -> Rule:
    """``iterations`` of Weiszfeld's algorithm; no distance counts as less than ``smooth``.

    Raises:
        ValueError: an option is out of range.
    """
    if not float(iterations).is_integer() or iterations < 1:
        raise ValueError("iterations must be a whole number, at least 1")
    if not smooth > 0:
        raise ValueError("smooth must be above 0")

    def combine(stacked: Stacked) -> State:
        weights = stacked.weights
        for _ in range(int(iterations)):
            distances = stacked.squares(stacked.mean(weights)).sqrt().clamp(min=smooth)
            weights = stacked.weights / distances
            weights = weights / weights.sum()
        return stacked.mean(weights)

    return robust("geometric-median", combine)
