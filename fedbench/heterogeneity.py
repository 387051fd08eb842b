"""How much sites differ: in what they hold, before training, and in where they move, in each round.

*Divergence* of the sites' distributions P_k of answers or topics, weighted by p_k = n_k / sum n of
training examples: the Jensen-Shannon divergence (Lin, *Divergence measures based on the Shannon
entropy*, IEEE Trans. Inf. Theory 37(1), 1991, equation 5.1)

    H(sum_k p_k P_k) - sum_k p_k H(P_k),

which is the mutual information of an example's site and its answer. It is never more than the
entropy of either, so it is divided by the smaller of the two: 0, all sites have the same
distribution; 1, the site tells the answer, or the answer the site. A finite sample is never quite
at 0: small sites differ by chance.

*Size imbalance* is the Gini coefficient of training sizes (Gini, *Variabilita e mutabilita*, 1912):
sum_ij |n_i - n_j| / (2 K sum n), from 0, all alike, to 1 - 1/K, one site has it all.

*Update spread* of a round's updates u_k, weighted by the w_k that add up to 1:

    1 - |sum_k w_k u_k|^2 / sum_k w_k |u_k|^2  =  sum_k w_k |u_k - u|^2 / sum_k w_k |u_k|^2

with u their mean: 0, all sites moved alike; 1 - 1/K for K orthogonal updates of one length and
weight; 1, they cancel. For equal weights it is 1 - 1 / (K D) with the gradient diversity D =
sum |u_k|^2 / |sum u_k|^2 of Yin et al. (arXiv:1706.05699, definition 1), of updates in place of
gradients; for any weights, 1 - 1 / B^2 with the local dissimilarity B of FedProx
(arXiv:1812.06127, definition 3), likewise.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from fedbench.partition import Partition
from fedbench.rules.rule import Contribution, Message, Rule, State
from fedbench.tasks import Example


def of_sites(
    partition: Partition, examples: Iterable[Example], *, classes: bool
) -> dict[str, float | None]:
    """What the training examples of the sites that train have in common, as a run's metrics tell.

    The divergence of answers is None without ``classes``: letters of options say nothing.
    """
    by_id = {example.id: example for example in examples}
    held = [[by_id[i] for i in partition.sites[site]["train"]] for site in partition.trained]
    labels = [Counter(example.choices[example.gold] for example in mine) for mine in held]
    return {
        "label_divergence": divergence(labels) if classes else None,
        "topic_divergence": divergence([Counter(e.topic for e in mine) for mine in held]),
        "size_imbalance": gini([len(mine) for mine in held]),
    }


def divergence(counts: Sequence[Mapping[str, int]]) -> float:
    """Jensen-Shannon divergence of what each site counts, over the largest it could be.

    0 where there is one site, or one thing to count.
    """
    things = Counter[str]()
    for each in counts:
        things.update(each)
    of_sites, of_things = (_bits(sum(each.values()) for each in counts), _bits(things.values()))
    most = min(of_sites, of_things)
    together = _bits(count for each in counts for count in each.values())
    return _share(of_sites + of_things - together, most) if most else 0.0


def gini(sizes: Sequence[int]) -> float:
    """Gini coefficient of sizes; 0 where there are none."""
    n, whole = len(sizes), sum(sizes)
    ranked = sum(rank * size for rank, size in enumerate(sorted(sizes), start=1))
    return 2 * ranked / (n * whole) - (n + 1) / n if whole else 0.0


@dataclass
class Spread:
    """The spread of a round's updates, added up one update at a time.

    It holds the sum of updates, in float32, and two numbers. It ``borrows`` that sum, once it is
    there, where the server adds up the very same.
    """

    total: State = field(default_factory=dict)
    weight: float = 0.0
    squares: float = 0.0
    comparable: bool = True
    borrows: bool = False
    shapes: Mapping[str, Any] = field(default_factory=dict)  #: of every update

    def add(self, update: State | None, weight: float) -> None:
        """Count one update; None, or one of other shapes, makes the spread unknown."""
        if update is None or not self._fits(update):
            self.comparable = False
            return
        self.shapes = _shapes(update)
        self.weight += weight
        self.squares += weight * _square(update)
        if self.borrows:
            return
        for name, tensor in update.items():
            if name in self.total:
                self.total[name].add_(tensor, alpha=weight)
            else:
                self.total[name] = tensor.float() * weight

    @property
    def value(self) -> float | None:
        """From 0 to 1; None where no site moved, or updates cannot be told or compared."""
        if not self.comparable or not 0 < self.squares < math.inf:
            return None
        mean = _square(self.total) / self.weight**2
        return 1 - _share(mean, self.squares / self.weight)

    def _fits(self, update: State) -> bool:
        return not self.shapes or self.shapes == _shapes(update)


def watched(
    rule: Rule,
    received: Callable[[str], Message],
    heard: Iterable[tuple[str, Contribution]],
    spread: Spread,
) -> Iterator[Contribution]:
    """The contributions of sites, each passed on once its update was added to ``spread``.

    An update is what the rule says that a site's adapter moved by from what it ``received``.
    """
    for site, contribution in heard:
        moved = rule.moved(received(site), contribution)
        spread.add(moved, contribution.weight)
        yield contribution


def _bits(counts: Iterable[int]) -> float:
    """Entropy, in bits, of a distribution given by counts."""
    found = [count for count in counts if count]
    whole = sum(found)
    return math.log2(whole) - sum(n * math.log2(n) for n in found) / whole if whole else 0.0


def _share(part: float, whole: float) -> float:
    """Their ratio, which is from 0 to 1 but for rounding."""
    return min(1.0, max(0.0, part / whole))


def _square(update: State) -> float:
    # A payload is read in any order of its tensors; this sum is the same to the bit in all.
    norms = (torch.linalg.vector_norm(t, dtype=torch.float32) for t in update.values())
    return math.fsum(float(norm) ** 2 for norm in norms)


def _shapes(update: State) -> dict[str, Any]:
    return {name: tensor.shape for name, tensor in update.items()}
