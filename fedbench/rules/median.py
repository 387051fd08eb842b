"""Coordinate-wise median (Yin et al., arXiv:1803.01498, algorithm 1, option I).

Of an even number of sites, the mean of the two in the middle. Sites count alike: a hostile one
would claim many examples.
"""

from __future__ import annotations

from fedbench.rules.robust import ALIKE, robust
from fedbench.rules.rule import Rule, State
from fedbench.rules.stacked import Stacked


def median() -> Rule:
    """The median of every number over sites."""
    return robust("median", coordinate_median, ALIKE)


def coordinate_median(stacked: Stacked) -> State:
    """By tensor, the median of every number over sites."""
    lower, upper = (len(stacked.weights) - 1) // 2, len(stacked.weights) // 2
    ordered = {name: update.sort(dim=0).values for name, update in stacked.updates.items()}
    return {name: (update[lower] + update[upper]) / 2 for name, update in ordered.items()}
