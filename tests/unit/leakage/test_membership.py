"""Attacks on membership: what they use, and what they must not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from fedbench.leakage.measures import auc
from fedbench.leakage.membership import (
    by_likelihood_ratio,
    by_loss,
    by_surprise,
    coin_flips,
    log_odds,
)


def simulated(shift, shadows=32, examples=64, seed=0):
    """Losses of examples that differ in difficulty much more than training on them does."""
    random = np.random.default_rng(seed)
    inside = coin_flips(shadows, examples, seed, "simulated")
    odds = random.normal(0, 3, examples) + random.normal(0, 1, inside.shape) + shift * inside
    return np.log1p(np.exp(-odds)), inside


def test_coins_are_fair_and_do_not_depend_on_how_many_shadows_there_are():
    flips = coin_flips(64, 100, 0, "pool")
    assert flips.mean() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_array_equal(coin_flips(8, 100, 0, "pool"), flips[:8])
    assert (coin_flips(64, 100, 0, "canaries") != flips).mean() == pytest.approx(0.5, abs=0.03)


def test_log_odds_are_those_of_the_answer():
    p = np.array([0.5, 0.9, 0.001])
    np.testing.assert_allclose(log_odds(-np.log(p)), np.log(p / (1 - p)), atol=1e-12)
    assert np.isfinite(log_odds(np.array([0.0, 1e4]))).all()


def test_the_ratio_sees_through_what_makes_examples_hard():
    losses, inside = simulated(shift=2.0)
    loss, ratio = by_loss(losses), by_likelihood_ratio(losses, inside)
    # Were means known, two Gaussians of variance 1 at a distance of 2 had 0.92.
    assert auc(ratio[inside], ratio[~inside]) == pytest.approx(0.9, abs=0.03)
    assert auc(loss[inside], loss[~inside]) < 0.75


def test_models_without_an_example_suffice_for_most_of_it():
    losses, inside = simulated(shift=2.0)
    surprise, ratio = by_surprise(losses, inside), by_likelihood_ratio(losses, inside)
    assert auc(surprise[inside], surprise[~inside]) == pytest.approx(0.9, abs=0.03)
    # What members look like is not read: moving them in one model leaves the others' scores.
    moved = losses.copy()
    moved[0, inside[0]] = 1e-3
    changed = by_surprise(moved, inside)[1:] - by_surprise(losses, inside)[1:]
    np.testing.assert_allclose(changed, 0, atol=1e-9)
    assert (by_likelihood_ratio(moved, inside)[1:] != ratio[1:]).any()


def test_a_surprise_is_the_log_odds_of_the_tail_of_models_without():
    odds = np.array([[5.0], [1.0], [2.0], [3.0]])  # of one example in four models
    losses, inside = np.log1p(np.exp(-odds)), np.array([[True], [False], [False], [False]])
    tail = norm.sf(5.0, loc=2.0, scale=1.0)  # mean and deviation of 1, 2, 3
    assert by_surprise(losses, inside)[0, 0] == pytest.approx(np.log((1 - tail) / tail))


def test_nothing_is_found_where_training_left_no_trace():
    losses, inside = simulated(shift=0.0)
    for attack in (by_likelihood_ratio, by_surprise, lambda seen, _: by_loss(seen)):
        scores = attack(losses, inside)
        assert auc(scores[inside], scores[~inside]) == pytest.approx(0.5, abs=0.03)


def test_an_attack_does_not_look_at_the_coins_of_the_model_that_it_attacks():
    losses, inside = simulated(shift=2.0, shadows=8)
    flipped = inside.copy()
    flipped[3] = ~flipped[3]
    before, after = by_likelihood_ratio(losses, inside), by_likelihood_ratio(losses, flipped)
    np.testing.assert_array_equal(before[3], after[3])
    assert (before[4] != after[4]).any()


def test_an_example_in_no_shadow_has_a_score_all_the_same():
    losses, inside = simulated(shift=2.0, shadows=4, examples=8)
    inside[:, 0] = False
    assert np.isfinite(by_likelihood_ratio(losses, inside)).all()
    assert np.isfinite(by_likelihood_ratio(losses, np.zeros_like(inside))).all()
