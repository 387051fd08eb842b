"""Every requirement on the look-alikes: what meets it, and what does not."""

from __future__ import annotations

import numpy as np
import pytest

from fedbench.config import PartitionConfig
from fedbench.report import control_checks as rules
from fedbench.report import stats
from fedbench.report.control_checks import AT_CHANCE, WIDEST, checks, interval_at

CHANCE = 1 / 3
BASE = "base is at chance, or within 10 points"
CENTRAL = "centralized reaches 75 %"
KEPT = "federated keeps 75 % of centralized's gain over base"
BEATEN = "federated is 8 points above local, interval above 0"
HALVED = "even sites and more wordings halve the gap to local"


def row(mean, half=0.05):
    return {
        "mean": mean, "ci_low": mean - half, "ci_high": mean + half, "ci_kind": stats.OVER_ITEMS,
        "n_test": 400, "n_seeds": 1, "chance": CHANCE, "runs": f"run-{mean:g}",
    }  # fmt: skip


GOOD = {"base": row(0.35), "federated": row(0.85), "centralized": row(0.95), "gap": row(0.2)}


def failed(**changes):
    *scores, gap = (GOOD | changes).items()
    return [check.requirement for check in rules._learnt(dict(scores), gap[1]) if not check.passed]


def test_a_look_alike_that_behaves_meets_every_requirement():
    assert failed() == []


@pytest.mark.parametrize(
    ("scores", "requirement"),
    [
        ({"base": row(0.45)}, BASE),
        ({"centralized": row(0.74), "federated": row(0.74)}, CENTRAL),
        ({"federated": row(0.79)}, KEPT),
        ({"gap": row(0.07)}, BEATEN),
        ({"gap": row(0.09, half=0.1)}, BEATEN),
    ],
)
def test_each_requirement_fails_by_itself(scores, requirement):
    assert failed(**scores) == [requirement]


@pytest.mark.parametrize(
    "scores",
    [
        {"base": row(0.43)},
        {"base": row(0.45, half=0.12)},
        {"centralized": row(0.75), "federated": row(0.75)},
        {"federated": row(0.801)},
        {"gap": row(0.081)},
    ],
)
def test_what_only_just_meets_a_requirement_meets_it(scores):
    assert failed(**scores) == []


def test_where_centralized_training_gained_nothing_no_share_of_it_was_kept():
    assert KEPT in failed(centralized=row(0.35), federated=row(0.35))


def test_a_share_of_a_gain_has_no_interval_and_names_the_runs_of_all_three_settings():
    share = next(check for check in rules._learnt(GOOD, row(0.2)) if check.requirement == KEPT)

    assert share.found == pytest.approx(0.5 / 0.6)
    assert np.isnan(share.low)
    assert share.ci_kind == ""
    assert share.runs.split() == ["run-0.85", "run-0.95", "run-0.35"]


@pytest.fixture
def shuffled(save, config):
    """Runs of one setting on shuffled labels, right as often as given for each seed."""

    def made(skills, setting="centralized"):
        return [
            save(config(setting, seed, labels="shuffled"), skill)
            for seed, skill in enumerate(skills)
        ]

    return made


def unlearnt(runs, family=12):
    return {check.requirement: check for check in rules._unlearnt(runs, family)}


def test_shuffled_labels_that_leave_a_setting_at_chance_pass(shuffled):
    at_chance, narrow = unlearnt(shuffled([CHANCE] * 6)).values()

    assert at_chance.passed
    assert narrow.passed
    assert narrow.found == pytest.approx((at_chance.high - at_chance.low) / 2)
    assert (at_chance.n_test, at_chance.n_seeds) == (120, 6)
    assert at_chance.ci_kind.endswith(", 99.58 %")


def test_something_learnt_from_shuffled_labels_fails(shuffled):
    at_chance, narrow = unlearnt(shuffled([0.6] * 6)).values()

    assert not at_chance.passed
    assert narrow.passed


def test_noise_that_hides_what_was_learnt_is_no_pass(shuffled):
    found = unlearnt(shuffled([CHANCE, 0.9]))

    assert found[AT_CHANCE.format("centralized")].passed
    assert [check.passed for check in found.values()] == [True, False]
    assert min(check.found for check in found.values() if not check.passed) > WIDEST


def test_more_negative_controls_have_wider_intervals(shuffled):
    runs = shuffled([CHANCE] * 6)
    one, many = (unlearnt(runs, family)[AT_CHANCE.format("centralized")] for family in (1, 12))

    assert one.ci_kind.endswith(", 95 %")
    assert many.low < one.low < one.high < many.high


def test_an_interval_at_the_usual_level_is_the_usual_one(runs):
    from fedbench.report.cells import cells
    from fedbench.report.scores import mean_of

    for cell in cells(runs):
        if len(cell.runs) > 1:
            score = mean_of(cell, "correct")
            usual, found = stats.interval(score), interval_at(score, stats.LEVEL)
            assert (found.low, found.high) == pytest.approx((usual.low, usual.high))


def test_twelve_negative_controls_of_a_perfect_world_pass_together_as_often_as_promised():
    generator = np.random.default_rng(0)
    level, worlds = 1 - 0.05 / 12, 400

    def holds_chance():
        right = generator.random((100, 6)) < CHANCE
        counts = np.stack([right * 1.0, np.ones((100, 6))], axis=-1)
        names = [f"item-{number}" for number in range(100)]
        score = stats.estimate(counts, lambda c: c[..., 0] / c[..., 1], range(6), names)
        found = interval_at(score, level)
        return found.low <= CHANCE <= found.high

    passed = sum(all(holds_chance() for _ in range(12)) for _ in range(worlds))
    assert passed / worlds > 0.93


def test_plenty_of_wordings_must_halve_the_gap(save, config):
    even = PartitionConfig(kind="iid", sites=4)

    def world(local, **values):
        skills = {"base": CHANCE, "local": local, "federated": 0.9, "centralized": 0.95}
        return [save(config(setting, **values), skill) for setting, skill in skills.items()]

    spread = world(0.5)
    for local, passed in ((0.85, True), (0.55, False)):
        plenty = world(local, partition=even, rank=8)
        found = {check.requirement: check for check in checks(spread, [], plenty, family=1)}
        assert found[HALVED].passed is passed
        assert found[HALVED].n_test == 120


def test_only_what_was_run_is_required(save, config):
    runs = [save(config(setting)) for setting in ("base", "local", "federated", "centralized")]

    assert [check.requirement for check in checks(runs, [], [], family=0)] == [
        BASE, CENTRAL, KEPT, BEATEN,
    ]  # fmt: skip
