"""Sites that fail in tables: what was lost by kind, beside the same federation without faults."""

from __future__ import annotations

import pytest

from fedbench.report import faults, faults_caption, faults_figure, main_results, say_faults
from fedbench.report.cells import cells, whole
from fedbench.report.faults import chance_of_loss
from tests import bigram
from tests.unit.report.conftest import IID, ITEMS, TASKS

TASK = "lookalike_fpb"
SILENT = {"faults": "silent:rate=0.5", "policy": {"deadline": 60.0}}
AGAIN = {"faults": "silent:rate=0.5", "policy": {"deadline": 60.0, "retries": 2}}


@pytest.fixture(autouse=True)
def facts(monkeypatch):
    known = {"task_title": "FPB look-alike", "domain": "finance", "synthetic": True}
    monkeypatch.setitem(TASKS, TASK, known)


@pytest.fixture
def shown(save, config):
    def saved(skill, **values):
        return save(config("federated", 1, task=TASK, partition=IID, **values), skill=skill)

    return [saved(0.8), saved(0.3, **SILENT), saved(0.8, **AGAIN)]


def test_a_change_is_the_paired_difference_to_the_federation_in_which_nobody_fails(shown):
    frame = faults(shown)
    sound, left, again = frame.to_dict("records")
    assert (sound["verdict"], left["verdict"]) == ("nobody fails", "loses")
    assert again["verdict"] == "no difference shown"
    assert left["sound"] == pytest.approx(sound["mean"])
    assert left["change"] == pytest.approx(left["mean"] - sound["mean"])
    assert left["change_low"] < left["change"] < left["change_high"] < 0
    assert (left["n_test"], left["chance"], again["retries"]) == (ITEMS, 0.5, 2)


@pytest.mark.parametrize(
    ("plan", "deadline", "chance"),
    [
        ("none", None, 0.0),
        ("late:rate=0.5", 60.0, 0.5),
        ("late:rate=0.5", 90.0, 0.0),  # as long as it takes
        ("late:rate=0.5", None, 0.0),
        ("twice:rate=0.5+memory:rate=0.5", None, 0.0),
        ("memory:rate=0.5,holds=0", None, 0.5),
        ("crash:rate=0.5+drop-out:rate=0.5+garbage:rate=0.5", None, 0.875),
    ],
)
def test_the_chance_of_a_loss_follows_from_the_plan(plan, deadline, chance):
    config = bigram.config(faults=plan, policy={"deadline": deadline})
    assert chance_of_loss(config) == pytest.approx(chance)


def test_what_happened_is_counted_from_the_rounds(save, config):
    import dataclasses

    run = save(config("federated", 1, task=TASK, partition=IID, rounds=2, **AGAIN), skill=0.8)
    trained = [site["site"] for site in run.sites if site.get("trained", True)]
    first, second = trained[:2]
    records = (
        {
            "round": 0,
            "cohort": trained[1:],
            "refused": {first: "It did not answer."},
            "faults": {first: ["silent+twice", "silent", "crash"], second: ["late", ""]},
            "asked_again": {first: ["Lost.", "Lost."], second: ["Lost."]},
            "waited": 120.0,
        },
        {"round": 1, "cohort": [], "abandoned": "Too few."},
    )
    (row,) = faults([dataclasses.replace(run, rounds=records)]).to_dict("records")
    assert {name: row[name] for name in ("silent", "twice", "late", "crash", "garbage")} == {
        "silent": 2, "twice": 1, "late": 1, "crash": 1, "garbage": 0,
    }  # fmt: skip
    assert (row["asked_again"], row["abandoned"], row["waited"]) == (3, 1, 120.0)
    assert (row["site_rounds"], row["lost"]) == (2 * len(trained), 1 + len(trained))


def test_federations_whose_sites_fail_stand_in_no_other_table(shown):
    assert [cell.config.faults for cell in whole(cells(shown))] == ["none"]
    assert {*main_results(shown)["runs"]} == {shown[0].id}


def test_sentences_and_caption_say_what_was_found_and_what_was_not_run(shown, config):
    missing = config("federated", 1, task=TASK, partition=IID, faults="crash:rate=0.5")
    frame = faults(shown, [run.config for run in shown] + [missing])
    said = say_faults(frame).splitlines()
    assert len(said) == 3
    assert sum("loses" in line for line in said) == 1
    assert sum(line.endswith("not run.") for line in said) == 1
    assert "1 of 4 cells: not run." in faults_caption(frame)


def test_the_picture_has_a_line_per_policy_and_says_so_without_runs(shown, config):
    top, below = faults_figure(faults(shown)).axes
    assert len(below.get_lines()) == 2
    assert top.get_ylabel() == "test accuracy (%)"
    assert len(faults_figure(faults([], [shown[1].config])).axes) == 1
