"""Uncertainty of scores, as pure functions over arrays.

Two things vary when an experiment is repeated: the seed (initialisation, batches, partition) and
the test items. Items that share a sentence or a fact rise and fall together, so clusters of
items, not items, are what is drawn. Every score is known here as an :class:`Estimate`: its value
per seed, and the same with one cluster left out. That is enough for each interval and each test
below, and a difference of two settings is a difference of two such arrays, so it is paired over
seeds and over items without further ado.

Sources:
    Interval over seeds: Student (1908), *The probable error of a mean*, Biometrika 6.
    Items: delete-one-cluster jackknife, as CV3 in MacKinnon, Nielsen, Webb (2023),
    *Cluster-robust inference: A guide to empirical practice*, J. Econometrics 232(2).
    Scores without variance: Clopper, Pearson (1934), Biometrika 26.
    One proportion of independent items: Wilson (1927), J. American Statistical Association 22.
    Two models on the items of one seed: McNemar (1947), Psychometrika 12, as an exact binomial.
    Many tests: Holm (1979), Scandinavian J. Statistics 6.
    Smallest detectable difference: Bloom (1995), *Minimum detectable effects*, Evaluation Review.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, betaincinv, ndtri, stdtr, stdtrit

Array = npt.NDArray[np.float64]
Statistic = Callable[[Array], Array]

OVER_SEEDS = "t over seeds"
OVER_ITEMS = "item clusters"
ONE_PROPORTION = "Wilson over items"
LEVEL = 0.95
POWER = 0.80


@dataclass(frozen=True)
class Estimate:
    """A score per seed, and what it would be without each cluster of items."""

    seeds: tuple[int, ...]  #: empty where no seed matters, as for an untuned backbone
    clusters: tuple[str, ...]
    per_seed: Array  #: [seeds], or [1] where no seed matters
    left_out: Array  #: [clusters, seeds]
    independent: int  #: how many clusters really bear on the value
    bounded: bool = True  #: a share between 0 and 1, as opposed to a difference
    single: bool = False  #: one run whose clusters are items: a plain proportion
    items: float = float("nan")  #: test items behind the value, mean over seeds

    @property
    def mean(self) -> float:
        """Mean over seeds, a fraction."""
        return float(self.per_seed.mean())

    @property
    def error(self) -> float:
        """Standard error over clusters of items of the mean over seeds, a fraction."""
        values = self.left_out.mean(axis=1)
        count = len(values)
        return float(np.sqrt((count - 1) / count * np.square(values - values.mean()).sum()))


@dataclass(frozen=True)
class Interval:
    """A two-sided interval of confidence :data:`LEVEL`, in fractions."""

    mean: float
    low: float
    high: float
    kind: str  #: :data:`OVER_SEEDS`, :data:`OVER_ITEMS` or :data:`ONE_PROPORTION`
    freedom: int  #: degrees of freedom

    @property
    def width(self) -> float:
        """From end to end."""
        return self.high - self.low


def estimate(
    counts: Array,
    statistic: Statistic,
    seeds: Sequence[int],
    clusters: Sequence[str],
    independent: int | None = None,
) -> Estimate:
    """Score additive ``counts`` [clusters, seeds, ...] whole, and without each cluster.

    ``statistic`` maps counts summed over clusters, [..., seeds, ...], to one value per seed.
    """
    total = counts.sum(axis=0)
    touched = counts.reshape(len(counts), -1).any(axis=1).sum()
    return Estimate(
        seeds=tuple(seeds),
        clusters=tuple(clusters),
        per_seed=statistic(total),
        left_out=statistic(total[None] - counts),
        independent=int(touched) if independent is None else independent,
    )


def without_seeds(score: Estimate) -> Estimate:
    """The mean over seeds as an estimate that no seed bears on: only items vary."""
    return Estimate(
        seeds=(),
        clusters=score.clusters,
        per_seed=score.per_seed.mean(keepdims=True),
        left_out=score.left_out.mean(axis=1, keepdims=True),
        independent=score.independent,
        bounded=score.bounded,
        single=score.single,
        items=score.items,
    )


def minus(left: Estimate, right: Estimate) -> Estimate | None:
    """The paired difference over the seeds and clusters of both; None without a common seed."""
    seeds = _common_seeds(left, right)
    if seeds is None:
        return None
    clusters = tuple(sorted({*left.clusters, *right.clusters}))
    (a, a_out), (b, b_out) = (_aligned(side, seeds, clusters) for side in (left, right))
    return Estimate(
        seeds,
        clusters,
        a - b,
        a_out - b_out,
        independent=min(left.independent, right.independent),
        bounded=False,
        items=min(left.items, right.items),
    )


def _common_seeds(left: Estimate, right: Estimate) -> tuple[int, ...] | None:
    if not left.seeds or not right.seeds:
        return left.seeds or right.seeds
    return tuple(sorted({*left.seeds} & {*right.seeds})) or None


def _aligned(
    side: Estimate, seeds: tuple[int, ...], clusters: tuple[str, ...]
) -> tuple[Array, Array]:
    """Columns in the order of ``seeds``; a cluster that is not there changes nothing left out."""
    columns = [side.seeds.index(seed) for seed in seeds] if side.seeds else [0] * max(1, len(seeds))
    per_seed = side.per_seed[columns]
    place = {cluster: row for row, cluster in enumerate(side.clusters)}
    whole = np.vstack([side.left_out[:, columns], per_seed])
    return per_seed, whole[[place.get(cluster, -1) for cluster in clusters]]


def seed_interval(values: Array) -> Interval:
    """Student's t interval of the mean of ``values``, one per seed; needs two of them."""
    freedom = len(values) - 1
    half = _quantile(freedom) * float(values.std(ddof=1)) / np.sqrt(len(values))
    return _around(float(values.mean()), float(half), OVER_SEEDS, freedom)


def item_interval(score: Estimate) -> Interval:
    """Cluster-robust interval over items; exact (Clopper-Pearson) where all clusters agree.

    A plain proportion, one run whose items share nothing, gets Wilson's.
    """
    mean, freedom = score.mean, score.independent - 1
    if score.single and score.bounded:
        return wilson(mean, score.independent)
    if score.error < 1e-12 and (not score.bounded or mean < 1e-9 or mean > 1 - 1e-9):
        return _exact(score)
    half = _quantile(freedom) * score.error if freedom else np.inf
    return _around(mean, half, OVER_ITEMS, freedom)


def wilson(share: float, count: int) -> Interval:
    """Wilson's score interval of one proportion of ``count`` independent items."""
    z = float(ndtri((1 + LEVEL) / 2))
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    low, high = max(0.0, middle - float(half)), min(1.0, middle + float(half))
    return Interval(share, low, high, ONE_PROPORTION, max(1, count - 1))


def mcnemar(left: Sequence[bool], right: Sequence[bool]) -> float:
    """Exact two-sided p-value that two models, on the same items of one seed, are equally right."""
    only_left = sum(a and not b for a, b in zip(left, right, strict=True))
    only_right = sum(b and not a for a, b in zip(left, right, strict=True))
    count = only_left + only_right
    return min(1.0, 2 * float(bdtr(min(only_left, only_right), count, 0.5))) if count else 1.0


def _exact(score: Estimate) -> Interval:
    """None of the clusters differs from the others: how large may the share of those that do be?"""
    mean, count = score.mean, score.independent
    reach = 1 - float(betaincinv(count, 1, (1 - LEVEL) / 2))
    least, most = (0.0, 1.0) if score.bounded else (-1.0, 1.0)
    low, high = max(least, mean - reach), min(most, mean + reach)
    return Interval(mean, low, high, OVER_ITEMS, count - 1)


def interval(score: Estimate) -> Interval:
    """The wider of the two intervals; over items alone where fewer than two seeds matter."""
    over_items = item_interval(score)
    if len(score.seeds) < 2:
        return over_items
    return max(over_items, seed_interval(score.per_seed), key=lambda each: each.width)


def p_above(difference: Estimate, bound: float = 0.0) -> float:
    """One-sided p-value that a paired difference is not above ``bound``, clustered over items.

    It is conditional on the trained models: seeds are averaged per item. Where all clusters differ
    by the same d there is no variance to divide by, and the answer is exact: differences lie
    between -1 and 1, so with a mean of at most ``bound`` a cluster differs by d with a probability
    of at most (1 + bound) / (1 + d), the others by -1. That is the sign test's 1/2 for d = 1 over
    0, and 1 - m for equal answers over a margin m.
    """
    if difference.error < 1e-12:
        same = (1 + bound) / (1 + difference.mean)
        return float(same**difference.independent) if difference.mean > bound + 1e-12 else 1.0
    ratio = (difference.mean - bound) / difference.error
    return float(stdtr(max(1, difference.independent - 1), -ratio))


def p_differs(difference: Estimate) -> float:
    """Two-sided p-value of a paired difference, from the interval that decides about it.

    It is below 0.05 if and only if :func:`interval` of the same difference leaves out zero.
    """
    found = interval(difference)
    if found.freedom < 1:
        return 1.0
    error = found.width / 2 / _quantile(found.freedom)
    return 2 * float(stdtr(found.freedom, -abs(found.mean) / error))


def holm(values: Sequence[float]) -> list[float]:
    """P-values adjusted by Holm's step-down method; NaN means not tested, and stays."""
    given = np.asarray(values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    scaled = given[order] * np.arange(len(order), 0, -1)
    adjusted = np.full_like(given, np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled)) if len(order) else scaled
    return [float(value) for value in adjusted]


def smallest_difference(found: Interval, tests: int = 1) -> float:
    """The true difference that would have been seen with probability :data:`POWER`, a fraction.

    Seen means: a two-sided interval of this standard error excludes zero (Bloom 1995). Of several
    ``tests`` that Holm's method adjusts, it is the first step, which is the hardest: a
    difference of this size is seen with that probability at least, whatever the others show.
    """
    if found.freedom < 1:
        return float("inf")
    error = found.width / 2 / _quantile(found.freedom)
    needed = stdtrit(found.freedom, 1 - (1 - LEVEL) / 2 / tests)
    return float(error * (needed + stdtrit(found.freedom, POWER)))


def _quantile(freedom: int) -> float:
    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def _around(mean: float, half: float, kind: str, freedom: int) -> Interval:
    return Interval(mean, mean - half, mean + half, kind, freedom)
