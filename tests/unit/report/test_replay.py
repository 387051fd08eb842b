"""Recorded runs done again by a stand-in: which are chosen, what is counted, when it counts."""

from __future__ import annotations

import os

import pandas as pd
import pytest

from fedbench import grid, store
from fedbench.errors import FedbenchError
from fedbench.report import origin
from fedbench.report import replay as replaying
from fedbench.report.replay import difference, outcome, replay, sample


@pytest.fixture
def kept(runs, monkeypatch, tmp_path):
    """The runs, as the repository keeps them."""
    store.record(runs, tmp_path / "own")
    monkeypatch.setattr(store, "shipped", lambda name: tmp_path)
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / "nothing"))
    found = [store.load(run.id) for run in runs]
    monkeypatch.setattr(grid, "found", lambda profile: found)
    monkeypatch.setattr(replaying, "_file", lambda profile: tmp_path / "replayed.json")
    return found


def test_one_skewed_federated_run_of_every_cell_is_chosen(runs):
    chosen = sample(runs)
    cells = {(r.config.task, r.config.backbone, r.config.method) for r in runs}
    assert [(r.config.task, r.config.backbone, r.config.method) for r in chosen] == sorted(cells)
    assert {r.config.setting for r in chosen} == {"federated"}
    assert {r.config.partition.kind for r in chosen} == {"dirichlet"}
    assert {r.config.seed for r in chosen} == {min(r.config.seed for r in runs)}


def test_runs_are_done_in_a_home_of_their_own_and_the_outcome_is_kept(kept, tmp_path):
    homes = []

    def do(config):
        homes.append(os.environ["FEDBENCH_HOME"])
        return next(run for run in kept if run.id == config.id)

    assert outcome("own") == ""
    replay("own", do=do)
    assert len(homes) == len(sample(kept))
    assert str(tmp_path / "nothing") not in homes
    said = outcome("own")
    assert said.startswith(f"{len(homes)} of the {len(kept)} recorded runs were done again")
    assert "0 of " in said


def test_an_outcome_counts_for_the_code_that_did_it_and_no_other(kept, monkeypatch):
    replay("own", do=lambda config: next(run for run in kept if run.id == config.id))
    monkeypatch.setattr(replaying, "code_of", lambda config: "other")
    assert outcome("own") == ""


def test_predictions_that_came_out_otherwise_are_counted(kept, save):
    then, now = kept[-1], save(kept[-1].config, skill=0.0)
    pair = pd.merge(then.items, now.items, on="item")
    expected = int((pair["prediction_x"] != pair["prediction_y"]).sum())
    assert 0 < expected == difference(then, now)["predicted_otherwise"]


def test_a_profile_without_recorded_runs_says_how_to_keep_them(monkeypatch):
    monkeypatch.setattr(grid, "found", lambda profile: [])
    with pytest.raises(FedbenchError, match="fedbench record keeps them"):
        replay("own")


def test_captions_and_figures_say_what_came_of_it_once_the_code_has_moved(kept, monkeypatch):
    replay("own", do=lambda config: next(run for run in kept if run.id == config.id))
    said = outcome("own")
    monkeypatch.setattr(origin, "why_moved", lambda run: "")
    assert said not in " ".join(origin.remarks(kept))
    monkeypatch.setattr(origin, "why_moved", lambda run: "the code has moved")
    assert f"{said}." in origin.remarks(kept)
    assert said in origin.face(kept)
