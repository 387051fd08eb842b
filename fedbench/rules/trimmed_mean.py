"""Coordinate-wise trimmed mean (Yin et al., arXiv:1803.01498, algorithm 1, option II).

Of every number, the mean over sites without the ``share`` of them that is greatest and the same
share that is least, rounded down to whole sites. Sites count alike.
"""

from __future__ import annotations

from fedbench.rules.robust import ALIKE, robust
from fedbench.rules.rule import Rule, State
from fedbench.rules.stacked import Stacked


def trimmed_mean(share: float = 0.2) -> Rule:
    """The mean of what is left after a ``share`` is cut from either end.

    Raises:
        ValueError: nothing would be left.
    """
    if not 0 <= share < 0.5:
        raise ValueError("share must be at least 0 and below 0.5")

    def combine(stacked: Stacked) -> State:
        sites = len(stacked.weights)
        cut = int(share * sites)
        return {
            name: update.sort(dim=0).values[cut : sites - cut].mean(dim=0)
            for name, update in stacked.updates.items()
        }

    return robust("trimmed-mean", combine, ALIKE)
