"""Was this example trained on? Attacks on what a server holds after a site's turn.

Whether an example is trained on is a coin flip, so that members and others are of one
distribution and an attack cannot win by telling two data sets apart.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from fedbench.streams import generator

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_LEAST_VARIANCE = 1e-12  #: of statistics that are all alike
_LEAST_LOSS = 1e-12  #: nats; an answer of probability 1 would have no finite odds


def coin_flips(shadows: int, examples: int, seed: int, what: str) -> Bools:
    """Who is a member of which shadow model, shape (shadows, examples): a fair coin each.

    ``what`` tells draws over different things apart. A shadow's coins do not depend on how many
    shadows there are.
    """
    rows = [generator("membership", seed, what, k).random(examples) for k in range(shadows)]
    return np.array(rows) < 0.5


def by_loss(losses: Floats) -> Floats:
    """Scores by loss alone: a low loss speaks for a member.

    Yeom et al. (arXiv:1709.01604, section 3.2, adversary 1 without its threshold). Shapes are
    kept; losses are summed over an answer's tokens, in nats.
    """
    return -losses


def log_odds(losses: Floats) -> Floats:
    """ln(p / (1 - p)) of answers with probability p = exp(-loss).

    Carlini et al. (arXiv:2112.03570, section IV-C): near to a Gaussian over shadow models, which
    losses are not.
    """
    bounded = np.maximum(losses, _LEAST_LOSS)
    return -bounded - np.log(-np.expm1(-bounded))


def by_likelihood_ratio(losses: Floats, inside: Bools) -> Floats:
    """Scores of every example in every model, all other models being its shadows.

    The online attack of Carlini et al. (arXiv:2112.03570, algorithm 1): ln of the likelihood of
    what is seen under a Gaussian of models trained with the example, less that under one of models
    trained without. Means are an example's own, the two variances are shared by all examples, as
    section VI-C finds better with few shadow models.

    Args:
        losses: of each example's answer in nats, shape (models, examples).
        inside: whether the example was trained on, of the same shape.
    """
    return _against_others(_ratio, losses, inside)


def by_surprise(losses: Floats, inside: Bools) -> Floats:
    """Scores like those of :func:`by_likelihood_ratio`, from shadows trained without the example.

    The offline attack of Carlini et al. (arXiv:2112.03570, equation 4): what is seen against a
    Gaussian of models that were not trained on the example, one-sided, for an attacker who has
    none that were. In place of 1 - Pr[Z > seen] the score is ln of it over Pr[Z > seen]: of the
    same order, but not rounded to 1 where it matters.
    """
    return _against_others(_surprise, losses, inside)


def _against_others(
    judge: Callable[[Floats, Bools, Floats], Floats], losses: Floats, inside: Bools
) -> Floats:
    """``judge`` every model's statistics by those of all models but itself."""
    seen = log_odds(losses)
    others = ~np.eye(len(seen), dtype=bool)
    return np.stack(
        [judge(seen[mask], inside[mask], own) for mask, own in zip(others, seen, strict=True)]
    )


def _ratio(references: Floats, inside: Bools, seen: Floats) -> Floats:
    """Log likelihood ratio of one model's statistics ``seen``, shape (examples,)."""
    return _log_density(references, inside, seen) - _log_density(references, ~inside, seen)


def _surprise(references: Floats, inside: Bools, seen: Floats) -> Floats:
    """Log odds of lying above what models trained without the example show, shape (examples,)."""
    means, variance = _gaussians(references, ~inside)
    deviations = (seen - means) / np.sqrt(variance)
    odds: Floats = norm.logcdf(deviations) - norm.logsf(deviations)
    return odds


def _log_density(references: Floats, chosen: Bools, seen: Floats) -> Floats:
    """Under the Gaussian of those references that are chosen, without its constant."""
    means, variance = _gaussians(references, chosen)
    density: Floats = -((seen - means) ** 2) / (2 * variance) - 0.5 * np.log(variance)
    return density


def _gaussians(references: Floats, chosen: Bools) -> tuple[Floats, float]:
    """Mean of every example over the references that are chosen, and the variance that all share.

    An example that was chosen in no reference takes the mean of all that were.
    """
    number = chosen.sum(axis=0)
    total = np.where(chosen, references, 0.0).sum(axis=0)
    means = np.where(number, total / np.maximum(number, 1), total.sum() / max(number.sum(), 1))
    squares = np.where(chosen, (references - means) ** 2, 0.0).sum()
    freedom = max(int(number.sum() - (number > 0).sum()), 1)
    return means, max(float(squares) / freedom, _LEAST_VARIANCE)
