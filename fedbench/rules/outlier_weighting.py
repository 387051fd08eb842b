"""Outliers count less: weights fall with the distance to a robust centre.

The centre is the coordinate-wise median of the updates. A site no further from it than the median
distance keeps its weight n_k; one that is t times as far gets n_k / t. No paper is followed: blog
posts about the paper's platform say that it weights outliers down, and not how.
"""

from __future__ import annotations

from fedbench.rules.median import coordinate_median
from fedbench.rules.robust import robust
from fedbench.rules.rule import Rule, State
from fedbench.rules.stacked import Stacked


def outlier_weighting() -> Rule:
    """FedAvg with weights divided by how many median distances away an update is."""
    return robust("outlier-weighting", combine)


def combine(stacked: Stacked) -> State:
    """The mean of updates, weighted by examples and nearness."""
    distances = stacked.squares(coordinate_median(stacked)).sqrt()
    usual = distances.quantile(0.5).clamp(min=1e-12)
    weights = stacked.weights / (distances / usual).clamp(min=1.0)
    return stacked.mean(weights / weights.sum())
