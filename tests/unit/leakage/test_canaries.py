"""Exposure: its value, and that without insertion it says nothing."""

from __future__ import annotations

import numpy as np
import pytest

from fedbench.leakage.canaries import (
    draw_answers,
    epsilon_of_exposures,
    exposures,
    thresholds,
)


def test_exposure_is_the_logarithm_of_candidates_less_that_of_the_rank():
    losses = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
    np.testing.assert_allclose(exposures(losses, np.array([0, 0, 2])), [2, 0, 2 - np.log2(3)])


def test_a_model_that_tells_nothing_apart_exposes_nothing():
    assert exposures(np.zeros((5, 8)), np.arange(5)).tolist() == [0.0] * 5


def test_thresholds_are_ranks_of_powers_of_two():
    assert thresholds(8) == (3, 2, 1, 0)


def drawn(known, seed=0, shadows=40, canaries=16, candidates=32):
    """Exposures under a model that prefers some answers, and knows a share of what it was given."""
    random = np.random.default_rng(seed)
    answers = draw_answers(shadows, canaries, candidates, seed)
    inserted = random.random(answers.shape) < 0.5
    found = []
    for row, given in zip(answers, inserted, strict=True):
        losses = np.tile(np.arange(candidates, dtype=float), (canaries, 1))
        learned = given & (random.random(canaries) < known)
        losses[learned, row[learned]] = -1
        found.append(exposures(losses, row))
    return np.array(found), inserted


def test_what_was_not_inserted_is_exposed_as_by_chance_whatever_a_model_prefers():
    found, inserted = drawn(known=0.0)
    by_chance = np.mean(5 - np.log2(np.arange(1, 33)))
    assert found[~inserted].mean() == pytest.approx(by_chance, abs=0.2)
    assert found[inserted].mean() == pytest.approx(by_chance, abs=0.2)
    assert epsilon_of_exposures(found, inserted, 32, 0.0, 0.95) == 0


def test_canaries_that_are_known_by_heart_prove_an_epsilon():
    some, every = (epsilon_of_exposures(*drawn(known), 32, 1e-5, 0.95) for known in (0.5, 1.0))
    assert 0.5 < some < every
