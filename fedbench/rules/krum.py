"""Krum and Multi-Krum (Blanchard et al., NeurIPS 2017, sections 4 and 5).

A site's score is the sum of squared distances of its update to those of the n - f - 2 sites
nearest to it, with f the number of hostile sites to withstand; the distance is over all tensors
together. Krum takes the update with the least score, Multi-Krum the mean of the ``keep`` least; of
equal scores, which two sites nearest to one another have where n - f - 2 is 1, the first counts.
"""

from __future__ import annotations

from fedbench.rules.robust import ALIKE, robust
from fedbench.rules.rule import Rule, State
from fedbench.rules.stacked import Stacked


def krum(hostile: float = 1, keep: float = 1) -> Rule:
    """The updates that stand closest to the others.

    Raises:
        ValueError: an option is no whole number, or too small.
    """
    if not float(hostile).is_integer() or hostile < 0:
        raise ValueError("hostile must be a whole number, at least 0")
    if not float(keep).is_integer() or keep < 1:
        raise ValueError("keep must be a whole number, at least 1")

    def combine(stacked: Stacked) -> State:
        import torch

        sites = len(stacked.weights)
        near = max(1, sites - int(hostile) - 2)
        # Its distance to itself, which is zero, comes first.
        nearest = stacked.between().sort(dim=1).values[:, 1 : near + 1]
        best = nearest.sum(dim=1).sort(stable=True).indices[: int(keep)]
        weights = torch.zeros(sites, dtype=torch.float64)
        weights[best] = 1 / len(best)
        return stacked.mean(weights)

    return robust("krum", combine, ALIKE)
