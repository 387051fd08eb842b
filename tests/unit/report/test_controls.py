"""Controls of the look-alikes: what is run for them, on which generator seeds, and what is kept."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from fedbench.cli import main
from fedbench.paths import home
from fedbench.report import controls
from fedbench.report.control_checks import checks
from fedbench.tasks import load_task

TASKS = ("lookalike_fiqa", "lookalike_fpb", "lookalike_medmcqa", "lookalike_medqa")


@pytest.mark.parametrize("task", TASKS)
def test_another_generator_seed_is_another_task_of_the_same_size(task):
    shipped, fresh = load_task(task), load_task(controls._variant(task, 9011))
    assert fresh.digest != shipped.digest
    assert {e.group for e in fresh.examples}.isdisjoint(e.group for e in shipped.examples)
    assert len(fresh.of_split("test")) >= 400


@pytest.mark.parametrize("task", TASKS)
def test_plenty_has_more_training_examples_of_the_same_facts(task):
    fresh = load_task(controls._variant(task, 9011))
    plenty = load_task(controls._variant(task, 9011, plenty=True))
    assert len(plenty.of_split("train")) > len(fresh.of_split("train"))
    assert {e.cluster for e in plenty.examples} == {e.cluster for e in fresh.examples}


def test_every_setting_is_run_with_the_tuned_values_on_the_uneven_partition():
    planned = controls._controls("smoke", "lookalike_fpb", 9011, full=True)
    assert [c.setting for c in planned.spread] == ["base", "local", "federated", "centralized"]
    assert {c.partition.kind for c in planned.spread if c.partition.sites > 1} == {"dirichlet"}
    assert {c.labels for c in planned.shuffled} == {"shuffled"}
    assert len(planned.shuffled) == 3 * controls.PERMUTATIONS
    assert len({c.seed for c in planned.shuffled}) == controls.PERMUTATIONS
    assert {c.seed for c in planned.spread} == {0}
    assert {c.setting for c in planned.plenty} == {"local", "federated"}
    assert {c.partition.kind for c in planned.plenty} == {"iid"}


def test_only_the_first_seed_gets_the_negative_and_the_dose_control():
    planned = controls._controls("smoke", "lookalike_fpb", 9012, full=False)
    assert not planned.shuffled
    assert not planned.plenty


def test_a_profile_without_look_alikes_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)

    assert main(["controls", "--profile", "cpu"]) == 2
    assert "Profile cpu runs no look-alike" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.csv"))


@pytest.fixture
def written(save, config, tmp_path, monkeypatch):
    """The CSV of the controls of a small world, whose task is described in a file."""
    monkeypatch.chdir(tmp_path)
    task = str(home().resolve() / "controls" / "fpb-9.yml")

    def made(skill, *wanted, **values):
        runs = [save(config(setting, seed, **values), skill) for setting, seed in wanted]
        return [replace(r, config=r.config.model_copy(update={"task": task})) for r in runs]

    spread = made(None, ("base", 0), ("local", 0), ("federated", 0), ("centralized", 0))
    shuffled = made(1 / 3, *(("centralized", seed) for seed in range(6)), labels="shuffled")
    runs = {run.id: run for run in (*spread, *shuffled)}
    monkeypatch.setattr(controls.store, "load", runs.__getitem__)
    asked = {"task": "fpb", "generator_seed": 9}
    rows = [asked | check._asdict() for check in checks(spread, shuffled, [], family=1)]
    return controls.write_checks(pd.DataFrame(rows), "smoke"), runs


def test_checks_are_written_with_their_uncertainty_and_their_runs(written):
    path, runs = written
    table, told = pd.read_csv(path), json.loads(path.with_suffix(".json").read_text())

    assert {"ci_kind", "n_test", "n_seeds", "runs"} <= set(table.columns)
    assert set(table["n_test"]) == {120}
    assert set(table["n_seeds"]) == {1, 6}
    assert {run_id for origin in told["origins"] for run_id in origin["runs"]} == set(runs)
    assert "on generator seeds 9" in told["caption"]
    assert f"{table['passed'].sum()} of {len(table)} requirements are met" in told["caption"]
    assert "those of the 1 negative controls hold together at 95 %" in told["caption"]


def test_no_folder_of_this_machine_is_written(written):
    assert str(home().resolve()) not in written[0].with_suffix(".json").read_text()
    assert "fpb-9.yml" in written[0].with_suffix(".json").read_text()
