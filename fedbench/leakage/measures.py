"""How well an attack tells members from others, and what that proves about epsilon.

Scores are higher where an attack believes more that an example was trained on. ``positives`` are
the scores of examples that were, ``negatives`` of those that were not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta, binom, rankdata

from fedbench.errors import FedbenchError

CONFIDENCE = 0.95
_LARGEST = 30.0  #: epsilon that no number of trials used here could prove


@dataclass(frozen=True)
class Rate:
    """A share of trials with its Clopper-Pearson interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Counts:
    """How often a test said "member" of members and of others."""

    true_positives: int
    positives: int
    false_positives: int
    negatives: int


@dataclass(frozen=True)
class Check:
    """Whether rates that were seen can come from a mechanism of a claimed epsilon and delta."""

    passed: bool
    epsilon: float  #: claimed
    delta: float  #: claimed
    proven: float  #: what the rates prove epsilon to be at least
    threshold: float  #: of the scores, where they prove most
    tpr: Rate  #: there
    fpr: Rate  #: there


def roc(
    positives: ArrayLike, negatives: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Receiver operating characteristic: FPR and TPR at every threshold, from (0, 0) to (1, 1).

    Returns:
        Two arrays of one length, a point for each different score and the origin before them.

    Raises:
        FedbenchError: one of the two is empty.
    """
    inside, outside = _both(positives, negatives)
    falling = np.unique(np.concatenate([inside, outside]))[::-1]
    fpr, tpr = (
        np.searchsorted(-np.sort(scores)[::-1], -falling, side="right") / scores.size
        for scores in (outside, inside)
    )
    return np.concatenate([[0.0], fpr]), np.concatenate([[0.0], tpr])


def auc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """Probability that a positive scores higher than a negative, equals counting half.

    Raises:
        FedbenchError: one of the two is empty.
    """
    inside, outside = _both(positives, negatives)
    ranks = rankdata(np.concatenate([inside, outside]))
    excess = ranks[: inside.size].sum() - inside.size * (inside.size + 1) / 2
    return float(excess / (inside.size * outside.size))


def tpr_at(
    positives: ArrayLike,
    negatives: ArrayLike,
    fpr: float = 0.01,
    confidence: float = CONFIDENCE,
) -> Rate:
    """True positive rate where at most ``fpr`` of the negatives score as high.

    The measure of Carlini et al. (arXiv:2112.03570, section III-B). The interval is for the
    threshold that these negatives give: it does not count how uncertain the threshold itself is.

    Raises:
        FedbenchError: one of the two is empty.
    """
    inside, outside = _both(positives, negatives)
    allowed = math.floor(fpr * outside.size)
    threshold = np.sort(outside)[::-1][min(allowed, outside.size - 1)]
    return rate(int((inside > threshold).sum()), inside.size, confidence)


def rate(hits: int, trials: int, confidence: float = CONFIDENCE) -> Rate:
    """``hits`` of ``trials`` with the two-sided interval of Clopper and Pearson (1934)."""
    each = (1 - confidence) / 2
    return Rate(hits / trials, _at_least(hits, trials, each), _at_most(hits, trials, each))


def counts_at(positives: ArrayLike, negatives: ArrayLike, threshold: float) -> Counts:
    """How many of each score at least ``threshold``."""
    inside, outside = _both(positives, negatives)
    hits, false = (int((scores >= threshold).sum()) for scores in (inside, outside))
    return Counts(hits, inside.size, false, outside.size)


def epsilon_of_counts(counts: Counts, delta: float = 0.0, confidence: float = CONFIDENCE) -> float:
    """Lower bound on epsilon that one test, fixed before its trials, proves.

    eps >= ln((TPR - delta) / FPR), and the same with both hypotheses exchanged,
    eps >= ln((TNR - delta) / FNR) (Nasr et al., arXiv:2101.04535, section II; Jagielski et al.,
    arXiv:2006.07709, section 3 and theorem 2). Both follow from a TPR that is no lower and an FPR
    that is no higher than two one-sided Clopper-Pearson bounds, which share the chance of error.
    Trials count as independent.
    """
    low, high = _bounds(counts, confidence)
    return max(0.0, _log_ratio(low - delta, high), _log_ratio(1 - high - delta, 1 - low))


def epsilon_lower(
    positives: ArrayLike,
    negatives: ArrayLike,
    thresholds: Sequence[float],
    delta: float = 0.0,
    confidence: float = CONFIDENCE,
) -> float:
    """The greatest bound of several thresholds, with Bonferroni's correction for their number.

    Args:
        positives: scores of members.
        negatives: scores of others.
        thresholds: fixed without a look at these scores; at and above one is called a member.
        delta: of the guarantee that is bounded.
        confidence: that epsilon is not below the bound, over all thresholds together.

    Raises:
        FedbenchError: there is no threshold, or no score.
    """
    return check(positives, negatives, thresholds, 0.0, delta, confidence).proven


def check(
    positives: ArrayLike,
    negatives: ArrayLike,
    thresholds: Sequence[float],
    epsilon: float,
    delta: float,
    confidence: float = CONFIDENCE,
) -> Check:
    """Whether TPR <= e^epsilon FPR + delta, and TNR <= e^epsilon FNR + delta, within error.

    It fails only where the bound of :func:`epsilon_lower` lies above ``epsilon``: for a mechanism
    that keeps its promise, in at most 1 - ``confidence`` of all checks.
    """
    found = [counts_at(positives, negatives, threshold) for threshold in thresholds]
    return check_counts(found, thresholds, epsilon, delta, confidence)


def check_counts(
    found: Sequence[Counts],
    thresholds: Sequence[float],
    epsilon: float,
    delta: float,
    confidence: float = CONFIDENCE,
) -> Check:
    """:func:`check` from what was counted at each threshold.

    Raises:
        FedbenchError: there is no threshold.
    """
    if not thresholds:
        raise FedbenchError("An epsilon cannot be bounded without thresholds: give at least one.")
    corrected = 1 - (1 - confidence) / len(thresholds)
    proven = [epsilon_of_counts(counts, delta, corrected) for counts in found]
    best = int(np.argmax(proven))
    at = found[best]
    return Check(
        passed=proven[best] <= epsilon,
        epsilon=epsilon,
        delta=delta,
        proven=proven[best],
        threshold=float(thresholds[best]),
        tpr=rate(at.true_positives, at.positives, confidence),
        fpr=rate(at.false_positives, at.negatives, confidence),
    )


def provable(
    positives: int,
    negatives: int,
    thresholds: int,
    delta: float = 0.0,
    confidence: float = CONFIDENCE,
) -> float:
    """The greatest bound of :func:`check_counts` that any outcome of so many trials could give.

    A claim above it passes whatever is seen: its check says nothing.
    """
    faultless = Counts(positives, positives, 0, negatives)
    return epsilon_of_counts(faultless, delta, 1 - (1 - confidence) / thresholds)


def epsilon_of_guesses(
    right: int, guesses: int, trials: int, delta: float = 0.0, confidence: float = CONFIDENCE
) -> float:
    """Lower bound on epsilon from guesses about many coin-flipped examples of each model.

    Steinke et al. (arXiv:2305.08846, theorem 5.2 and its program in the appendix): of ``guesses``
    made from what a mechanism put out, ``right`` ones are as improbable as for a binomial of rate
    e^eps / (1 + e^eps), up to a term in delta. Unlike :func:`epsilon_lower` it needs no
    independence between the examples of one model.

    Args:
        right: guesses that were right.
        guesses: made at all; about other examples nothing was said.
        trials: examples whose coin was flipped, in all models together.
        delta: of the guarantee that is bounded.
        confidence: that epsilon is not below the bound.
    """
    low, high = 0.0, _LARGEST
    if _chance(right, guesses, trials, low, delta) > 1 - confidence:
        return 0.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        refuted = _chance(right, guesses, trials, middle, delta) <= 1 - confidence
        low, high = (middle, high) if refuted else (low, middle)
    return low


def _chance(right: int, guesses: int, trials: int, epsilon: float, delta: float) -> float:
    """Bound on the chance of at least so many right guesses under (epsilon, delta)."""
    share = 1 / (1 + math.exp(-epsilon))
    by_chance = float(binom.sf(right - 1, guesses, share))
    if not delta or not right:
        return by_chance
    fewer = np.cumsum(binom.pmf(right - np.arange(1, right + 1), guesses, share))
    steepest = float((fewer / np.arange(1, right + 1)).max())
    return min(1.0, by_chance + 2 * trials * delta * steepest)


def _bounds(counts: Counts, confidence: float) -> tuple[float, float]:
    """A lower bound on TPR and an upper one on FPR that hold together."""
    each = (1 - confidence) / 2
    low = _at_least(counts.true_positives, counts.positives, each)
    return low, _at_most(counts.false_positives, counts.negatives, each)


def _at_least(hits: int, trials: int, error: float) -> float:
    return float(beta.ppf(error, hits, trials - hits + 1)) if hits else 0.0


def _at_most(hits: int, trials: int, error: float) -> float:
    return float(beta.ppf(1 - error, hits + 1, trials - hits)) if hits < trials else 1.0


def _log_ratio(above: float, below: float) -> float:
    """ln(above / below), where nothing is proven without anything above."""
    return math.log(above / below) if above > 0 else -math.inf


def _both(
    positives: ArrayLike, negatives: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    inside, outside = (np.asarray(s, dtype=np.float64).ravel() for s in (positives, negatives))
    if not inside.size or not outside.size:
        raise FedbenchError(
            "Members cannot be told from others where one of the two is missing: flip the coins "
            "of more examples, or train more shadow models."
        )
    return inside, outside
