"""Every profile that ships is a grid without repeats, and fair to every setting."""

from __future__ import annotations

import json
import re
from collections import defaultdict

import pytest
import yaml

from fedbench import profiles
from fedbench.config import TRAINED
from fedbench.errors import FedbenchError
from fedbench.paths import CHECKOUT, profile_names
from fedbench.profiles import Cell, cells, load, read_spec
from fedbench.resolving import resolve

NAMES = profile_names()


@pytest.fixture
def tuned(monkeypatch):
    """Values for every cell, as a search would leave them: rates differ by setting."""
    rates = {"local": 1e-3, "federated": 2e-3, "centralized": 4e-3}

    def values(name):
        return {
            cell.key: {"passes": 3.0, "learning_rate": rates} for cell, _ in cells(read_spec(name))
        }

    monkeypatch.setattr(profiles, "tuned_values", values)


def test_the_readme_names_the_profiles_there_are():
    rows = re.findall(r"^\| `([a-z-]+)`", (CHECKOUT / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_spelt_out_in_resolved_runs_each_once(name, tuned):
    runs = load(name).runs
    assert runs
    assert len({run.id for run in runs}) == len(runs)
    assert all(resolve(run) == run for run in runs)


@pytest.mark.parametrize("name", NAMES)
def test_settings_of_a_cell_get_equal_passes(name, tuned):
    passes = defaultdict(set)
    for run in load(name).runs:
        if run.setting in TRAINED:
            passes[run.task, run.backbone, run.method, run.labels].add(run.passes)
    assert passes
    assert all(len(found) == 1 for found in passes.values())


@pytest.mark.parametrize("name", NAMES)
def test_what_a_setting_does_not_depend_on_is_not_repeated(name, tuned):
    count, blocks = defaultdict(int), defaultdict(int)
    for run in load(name).runs:
        if run.setting == "base":
            count[run.task, run.backbone, run.method] += 1
    for cell, _ in cells(read_spec(name)):
        blocks[cell.task, cell.backbone, cell.method] += 1
    assert set(count) == set(blocks)
    assert all(count[key] <= blocks[key] for key in count)
    assert count


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_has_the_settings_of_its_block_with_the_same_seeds(name, tuned):
    asked = {
        (c.task, c.backbone, c.method): set(grid.settings) for c, grid in cells(read_spec(name))
    }
    seeds = defaultdict(lambda: defaultdict(set))
    for run in load(name).runs:
        cell = (run.task, run.backbone, run.method, run.labels)
        seeds[cell][run.setting].add(run.seed)
    for cell, found in seeds.items():
        assert set(found) == asked[cell[:3]], cell
        trained = {frozenset(found[setting]) for setting in TRAINED if setting in found}
        assert len(trained) == 1, cell


@pytest.mark.parametrize("name", NAMES)
def test_federated_and_local_see_the_same_partitions(name, tuned):
    seen = defaultdict(set)
    for run in load(name).runs:
        seen[run.setting].add((run.task, run.backbone, run.method, run.partition))
    assert seen["federated"] == seen["local"]
    assert {partition.sites for *_, partition in seen["centralized"] | seen["base"]} == {1}


@pytest.mark.parametrize("name", NAMES)
def test_seeds_of_the_search_are_never_reported(name):
    spec = read_spec(name)
    if spec.tuning is None:
        return
    reported = {seed for grid in spec.grid for seed in grid.seeds}
    assert reported.isdisjoint(spec.tuning.seeds)


@pytest.mark.parametrize("name", NAMES)
def test_tasks_backbones_and_methods_of_a_profile_are_ours_or_public(name):
    from fedbench.models.methods import METHODS
    from fedbench.tasks.specfile import read_spec as read_task

    for cell, _ in cells(read_spec(name)):
        assert cell.method in METHODS
        read_task(cell.task)


def write(folder, name, **values):
    spec = {
        "title": "own",
        "minutes": 1,
        "common": {"learning_rate": 0.1},
        "partitions": [{"kind": "iid", "sites": 2}, {"kind": "dirichlet", "alpha": 1, "sites": 2}],
        "grid": [{"tasks": ["fpb"], "backbones": ["b"], "methods": ["lora"], "seeds": [0, 1]}],
        **values,
    }
    (folder / f"{name}.yml").write_text(yaml.safe_dump(spec))


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setattr(profiles, "_FOLDER", tmp_path)
    read_spec.cache_clear()
    yield tmp_path
    read_spec.cache_clear()


def test_a_grid_is_every_combination_in_every_setting(own):
    write(own, "own")
    runs = load("own").runs
    # base once; centralized by seed; local and federated by seed and partition
    assert len(runs) == 1 + 2 + 4 + 4


def test_overlapping_blocks_do_not_repeat_a_run(own):
    block = {"tasks": ["fpb"], "backbones": ["b"], "methods": ["lora"], "seeds": [0, 1]}
    write(own, "own", grid=[block, {**block, "methods": ["lora", "ia3"]}])
    assert len(load("own").runs) == 2 * 11


def test_a_block_may_see_fewer_partitions_than_the_profile(own):
    grid = {"tasks": ["fpb"], "backbones": ["b"], "methods": ["lora"], "seeds": [0]}
    write(own, "own", grid=[{**grid, "partitions": [{"kind": "iid", "sites": 3}]}])
    assert sorted((run.setting, run.partition.sites) for run in load("own").runs) == [
        ("base", 1), ("centralized", 1), ("federated", 3), ("local", 3),
    ]  # fmt: skip


def test_a_block_wins_over_the_profile(own):
    grid = {"tasks": ["fpb"], "backbones": ["b"], "methods": ["lora"], "seeds": [0]}
    write(
        own,
        "own",
        common={"rounds": 2, "rank": 4, "learning_rate": 0.1},
        grid=[{**grid, "common": {"rounds": 3}}],
    )
    assert {(run.rounds, run.rank) for run in load("own").runs} == {(3, 4)}


def test_tuned_values_reach_every_trained_setting_and_base_needs_none(own, tuned):
    write(own, "own")
    rates = {run.setting: run.learning_rate for run in load("own").runs}
    assert rates["local"] == 1e-3
    assert rates["centralized"] == 4e-3
    assert {run.passes for run in load("own").runs} == {3.0}


def test_values_that_were_never_tuned_are_asked_for(own, monkeypatch):
    write(own, "own", common={})
    monkeypatch.setattr(profiles, "tuned_values", lambda name: {})
    with pytest.raises(
        FedbenchError, match=f"no values for {Cell('fpb', 'b', 'lora').key}.*make tune"
    ):
        load("own")


def test_an_unknown_profile_is_told_which_there_are():
    with pytest.raises(FedbenchError, match="tiny"):
        read_spec("no-such-profile")


def test_all_problems_of_a_profile_are_told_at_once(own):
    write(own, "own", minutes="long", partitons=[], grid=[{"tasks": ["fpb"], "seed": [0]}])
    with pytest.raises(FedbenchError) as caught:
        read_spec("own")
    message = str(caught.value)
    assert "own.yml" in message
    assert "minutes" in message
    assert "partitons is not a field, did you mean partitions?" in message
    assert "grid.0.seed is not a field, did you mean seeds?" in message
    assert "grid.0.methods is missing" in message


def test_a_seed_that_chose_learning_rates_cannot_be_reported(own):
    search = {"seeds": [1000, 0], "learning_rates": [0.1], "passes": [1]}
    write(own, "own", tuning=search)
    with pytest.raises(FedbenchError, match=r"tuning.seeds and grid seeds share 0"):
        read_spec("own")


def test_a_field_that_no_run_has_is_told(own):
    write(own, "own", common={"round": 3, "learning_rate": 0.1})
    with pytest.raises(FedbenchError, match=r"round is not a field, did you mean rounds\?"):
        load("own")


def test_tuned_values_are_those_of_the_file(own, monkeypatch, tmp_path):
    path = tmp_path / "tuning.json"
    content = {"own": {"cells": {"key": {"passes": 1}}}}
    path.write_text(json.dumps(content | {"digest": profiles.tuning_digest(content)}))
    monkeypatch.setattr(profiles, "shipped", lambda name: path)
    assert profiles.tuned_values("own") == {"key": {"passes": 1}}
    assert profiles.tuned_values("other") == {}


def test_tuned_values_changed_by_hand_are_refused(monkeypatch, tmp_path):
    path = tmp_path / "tuning.json"
    path.write_text(json.dumps({"own": {"cells": {"key": {"passes": 1}}}, "digest": "x"}))
    monkeypatch.setattr(profiles, "shipped", lambda name: path)
    with pytest.raises(FedbenchError, match="restore it with git checkout"):
        profiles.tuned_values("own")
