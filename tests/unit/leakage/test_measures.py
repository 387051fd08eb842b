"""Bounds on epsilon hold for mechanisms whose epsilon is known, and say something of leaky ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from fedbench.errors import FedbenchError
from fedbench.leakage.measures import (
    Counts,
    auc,
    check,
    check_counts,
    counts_at,
    epsilon_lower,
    epsilon_of_counts,
    epsilon_of_guesses,
    provable,
    rate,
    roc,
    tpr_at,
)

AUDITS = 300
#: Of so many audits at 95 % confidence, more failures have a chance below 1 in 1000.
TOLERATED = 28


def test_auc_counts_pairs_and_equals_half():
    assert auc([3, 2], [1, 2]) == (1 + 1 + 1 + 0.5) / 4
    assert auc([1.0], [2.0]) == 0
    assert auc([0, 0], [0, 0, 0]) == 0.5


def test_a_curve_passes_all_thresholds_and_has_the_area_of_auc():
    inside, outside = [3, 2, 2], [1, 2]
    fpr, tpr = roc(inside, outside)
    assert fpr.tolist() == [0, 0, 0.5, 1]
    np.testing.assert_allclose(tpr, [0, 1 / 3, 1, 1])
    random = np.random.default_rng(5)
    inside, outside = random.integers(0, 9, 40) + 1, random.integers(0, 9, 60)
    fpr, tpr = roc(inside, outside)
    assert np.trapezoid(tpr, fpr) == pytest.approx(auc(inside, outside))


def test_random_guesses_have_an_auc_of_a_half_and_prove_nothing():
    random = np.random.default_rng(0)
    inside, outside = random.random((2, 4000))
    assert auc(inside, outside) == pytest.approx(0.5, abs=0.02)
    assert epsilon_lower(inside, outside, [0.25, 0.5, 0.75]) == 0
    assert epsilon_of_guesses(2010, 4000, 4000) == 0


def test_the_rate_at_one_percent_lets_no_more_than_one_percent_pass():
    outside = np.arange(200.0)
    assert tpr_at([197.5, 196.5, 0, 0], outside).value == 0.25  # two may pass, three not
    assert tpr_at([300.0] * 4, np.arange(50.0)).value == 1  # with 50, none may
    assert tpr_at([49.0] * 4, np.arange(50.0)).value == 0


def test_an_interval_of_no_hits_is_the_one_in_closed_form():
    found = rate(0, 50)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 50))
    assert rate(50, 50).low == pytest.approx(0.025 ** (1 / 50))


def test_one_missing_side_is_refused():
    with pytest.raises(FedbenchError, match="Members cannot be told"):
        auc([], [1.0])
    with pytest.raises(FedbenchError, match="without thresholds"):
        epsilon_lower([1.0], [0.0], [])


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 2.0])
def test_the_bound_holds_for_randomised_response_and_is_near_to_its_epsilon(epsilon):
    random = np.random.default_rng(1)
    share = 1 / (1 + math.exp(-epsilon))
    bounds = [
        epsilon_of_counts(Counts(hits, 2000, false, 2000))
        for hits, false in zip(
            random.binomial(2000, share, AUDITS),
            random.binomial(2000, 1 - share, AUDITS),
            strict=True,
        )
    ]
    assert sum(bound > epsilon for bound in bounds) <= TOLERATED
    assert epsilon - 0.3 < np.median(bounds) <= epsilon


def epsilon_of_gaussian(sigma, delta):
    """Exact epsilon of the Gaussian mechanism of sensitivity 1 (arXiv:1805.06530, theorem 8)."""

    def excess(epsilon):
        a, b = 1 / (2 * sigma), epsilon * sigma
        return norm.cdf(a - b) - math.exp(epsilon) * norm.cdf(-a - b) - delta

    return brentq(excess, 0, 50)


def test_bound_and_check_hold_for_a_gaussian_mechanism_with_their_confidence():
    sigma, delta = 1.0, 0.05
    epsilon = epsilon_of_gaussian(sigma, delta)
    best = 0.5 + epsilon * sigma**2  # where the likelihood ratio is e^epsilon
    random = np.random.default_rng(2)
    wrong, proven = 0, []
    for _ in range(AUDITS):
        inside, outside = random.normal(1, sigma, 3000), random.normal(0, sigma, 3000)
        found = check(inside, outside, [best - 0.5, best], epsilon, delta)
        wrong += not found.passed
        proven.append(found.proven)
    assert wrong <= TOLERATED
    assert np.median(proven) > 0.6 * epsilon


def test_the_check_refutes_a_mechanism_with_too_little_noise():
    random = np.random.default_rng(3)
    inside, outside = random.normal(1, 0.3, 1000), random.normal(0, 0.3, 1000)
    found = check(inside, outside, [0.5], epsilon=1.0, delta=1e-5)
    assert not found.passed
    assert found.proven == pytest.approx(epsilon_of_counts(counts_at(inside, outside, 0.5), 1e-5))
    assert found.proven > 2
    assert found.tpr.value > 0.9
    assert found.fpr.value < 0.1


def test_both_directions_count():
    rare, common = Counts(100, 1000, 0, 1000), Counts(1000, 1000, 900, 1000)
    assert epsilon_of_counts(rare) == pytest.approx(epsilon_of_counts(common))
    assert epsilon_of_counts(rare) > 2


def test_delta_is_taken_off_the_greater_rate():
    counts = Counts(600, 1000, 100, 1000)
    low, high = rate(600, 1000).low, rate(100, 1000).high  # each bound is one-sided at 2.5 %
    assert epsilon_of_counts(counts, 0.2) == pytest.approx(math.log((low - 0.2) / high))


def test_more_thresholds_cost_confidence():
    inside, outside = [1.0] * 90 + [0.0] * 10, [1.0] * 10 + [0.0] * 90
    assert epsilon_lower(inside, outside, [0.5] * 10) < epsilon_lower(inside, outside, [0.5])


def test_a_check_of_counts_is_that_of_the_scores_they_were_counted_on():
    inside, outside, levels = [3, 2, 2, 1] * 20, [0, 1, 2, 0] * 20, (3.0, 2.0, 1.0)
    counts = [counts_at(inside, outside, level) for level in levels]
    assert check_counts(counts, levels, 1.0, 0.0) == check(inside, outside, levels, 1.0, 0.0)


def test_no_outcome_proves_more_than_an_attack_without_a_fault():
    # Bounds of Clopper and Pearson for n of n and for 0 of n hits: a^(1/n) and 1 - a^(1/n).
    error = 0.05 / 7 / 2
    least = error ** (1 / 400)
    most = provable(400, 400, 7)
    assert most == pytest.approx(math.log(least / (1 - least)))
    assert check([9] * 400, [0] * 400, range(1, 8), 0.0, 0.0).proven == pytest.approx(most)
    assert provable(4000, 4000, 7) > most


def test_the_bound_from_guesses_holds_for_randomised_response():
    random = np.random.default_rng(4)
    share = 1 / (1 + math.exp(-1.0))
    bounds = [epsilon_of_guesses(right, 800, 1000) for right in random.binomial(800, share, AUDITS)]
    assert sum(bound > 1.0 for bound in bounds) <= TOLERATED
    assert 0.7 < np.median(bounds) < 1.0


def test_the_bound_from_guesses_allows_for_a_mechanism_that_tells_all_with_probability_delta():
    assert epsilon_of_guesses(20, 20, 20) > 1
    assert epsilon_of_guesses(20, 20, 20, delta=0.05) == 0
    assert epsilon_of_guesses(0, 0, 20) == 0
