"""The gallery of defects: each beside what it spoils, paired, in words that its interval bears."""

from __future__ import annotations

import numpy as np
import pytest

from fedbench.defects import DEFECTS
from fedbench.report import (
    gallery,
    gallery_caption,
    gallery_figure,
    say_bugs,
    say_gallery,
)
from fedbench.rules import RULES
from tests.unit.report.conftest import ITEMS, SKEWED, TASKS
from tests.unit.report.test_tables import pick

TASK = "lookalike_fpb"
FACTS = {"task_title": "FPB look-alike", "domain": "finance", "synthetic": True}
SKILLS = {"defect-first-site": 0.3, "defect-leaky-half": 0.98, "defect-other-prompt": 0.7}


@pytest.fixture(autouse=True)
def facts(monkeypatch):
    for task in (TASK, *(f"{name}:{TASK}" for name in DEFECTS)):
        monkeypatch.setitem(TASKS, task, FACTS)


@pytest.fixture
def cell(save, config):
    def saved(rule="fedavg", task=TASK, skill=0.7, seeds=(0, 1, 2)):
        made = [config("federated", s, task=task, rule=rule, partition=SKEWED) for s in seeds]
        return [save(each, skill=skill) for each in made]

    return saved


@pytest.fixture
def shown(cell):
    wrong = [
        run
        for name, skill in SKILLS.items()
        for run in (
            cell(rule=name, skill=skill)
            if DEFECTS[name].rule
            else cell(task=f"{name}:{TASK}", skill=skill)
        )
    ]
    return [*cell(), *wrong]


def test_a_gain_is_the_paired_difference_to_the_run_that_is_spoilt(shown):
    frame = gallery(shown)
    assert list(frame["defect"]) == [*SKILLS]
    accuracy = {}
    for run in shown:
        accuracy.setdefault((run.config.task, run.config.rule), []).append(run.metrics["accuracy"])
    right = np.mean(accuracy[TASK, "fedavg"])
    for row in frame.to_dict("records"):
        wrong = accuracy[row["task"], row["defect"] if DEFECTS[row["defect"]].rule else "fedavg"]
        assert row["right"] == pytest.approx(right)
        assert row["wrong"] == pytest.approx(np.mean(wrong))
        assert row["gain"] == pytest.approx(np.mean(wrong) - right)
        assert row["gain_low"] < row["gain"] < row["gain_high"]
        assert (row["n_seeds"], row["n_test"]) == (3, ITEMS)
        assert len(row["runs"].split()) == 6


def test_a_verdict_says_no_more_than_its_interval(shown):
    verdicts = gallery(shown).set_index("defect")["verdict"]
    assert verdicts["defect-first-site"] == "loses"
    assert verdicts["defect-leaky-half"] == "looks better than it is"
    assert verdicts["defect-other-prompt"] == "no difference shown"


def test_a_rule_that_is_wrong_and_scores_more_is_still_called_wrong(cell):
    frame = gallery([*cell(skill=0.3), *cell(rule="defect-first-site", skill=0.95)])
    assert frame["verdict"][0] == "scores more, and is wrong"


def test_the_best_round_is_held_against_the_last_of_the_same_runs_and_not_tested(cell):
    runs = cell(task=f"defect-best-round:{TASK}")
    gains = []
    for place, run in enumerate(runs):
        run.rounds[1]["validation_accuracy"] = 0.8 + place / 100
        gains.append(0.8 + place / 100 - run.rounds[-1]["validation_accuracy"])
    frame = gallery([*cell(), *runs])
    row = frame.iloc[0]
    assert row["beside"] == "its last round"
    assert row["wrong"] - row["right"] == pytest.approx(row["gain"])
    ends = row["gain"], row["gain_low"], row["gain_high"]
    assert ends == pytest.approx((np.mean(gains), min(gains), max(gains)))
    assert (row["gain_kind"], row["verdict"]) == ("range over seeds", "can only flatter")
    assert np.isnan(row["smallest_difference"])
    low, high = (f"{100 * end:+.1f}" for end in (min(gains), max(gains)))
    assert f"from {low} to {high} over 3 seeds" in say_gallery(frame)
    assert "would have been seen" not in say_gallery(frame)


def test_equal_gains_of_the_best_round_are_no_proof_of_anything(cell):
    runs = cell(task=f"defect-best-round:{TASK}")
    for run in runs:
        run.rounds[1]["validation_accuracy"] = run.rounds[-1]["validation_accuracy"] + 0.05
    frame = gallery([*cell(), *runs])
    assert frame["verdict"][0] == "can only flatter"
    (bar,) = gallery_figure(frame).axes[0].containers
    assert bar.lines[0].get_marker() == "D"
    assert bar.lines[0].get_markerfacecolor() == "white"
    assert "range over seeds" in gallery_caption(frame)


def test_a_last_round_that_is_the_best_gains_nothing(cell):
    row = gallery([*cell(), *cell(task=f"defect-best-round:{TASK}")]).iloc[0]
    assert (row["gain"], row["gain_low"], row["gain_high"]) == (0, 0, 0)


def test_what_shares_no_seed_with_the_right_runs_is_not_run(cell):
    frame = gallery([*cell(), *cell(rule="defect-first-site", seeds=(7,))])
    assert list(frame["verdict"]) == ["not run"]
    assert "not run" in say_gallery(frame)
    assert "not run" in gallery_caption(frame)
    assert "not run" in gallery_figure(frame).axes[0].texts[0].get_text()


def test_the_caption_tells_which_defect_no_released_system_has(shown):
    frame = gallery(shown)
    assert "of no released system: leaky half." in gallery_caption(frame)
    others = frame[frame["defect"] != "defect-leaky-half"]
    assert "Ours" not in gallery_caption(others)


def test_a_defect_without_its_right_run_is_left_out(cell):
    assert gallery(cell(rule="defect-first-site")).empty
    assert gallery([*cell(), *cell(rule="defect-transposed-residual")]).empty
    assert say_gallery(gallery([])) == "The gallery: not run."


def test_what_is_right_is_no_row(shown):
    assert not {*gallery(shown)["defect"]} & {*RULES}


def test_what_is_said_names_points_eyes_and_the_check(shown):
    said = say_gallery(pick(gallery(shown), defect="defect-first-site"))
    assert "loses (-" in said
    assert DEFECTS["defect-first-site"].eyes in said
    assert said.endswith("What did notice: conformance: order, all heard, weight.")


def test_every_bug_is_told_in_two_lines_of_code():
    said = say_bugs()
    for defect in DEFECTS.values():
        assert f"right:  {defect.right}\nwrong:  {defect.wrong}" in said


def test_the_figure_has_a_row_for_every_defect_and_says_synthetic(shown):
    figure = gallery_figure(gallery(shown))
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["first site", "leaky half", "other prompt"]
    assert "synthetic" in figure.get_suptitle()
    assert "3 seeds" in gallery_caption(gallery(shown))
