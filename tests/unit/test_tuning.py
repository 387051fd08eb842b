"""The search: what wins, what a tie means, where the grid goes on, what is written."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fedbench import profiles, tuning
from fedbench.config import TRAINED
from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json
from fedbench.locks import is_held


def scores(by_rate, passes=2.0):
    """The same accuracies for every setting."""
    return {(s, rate, passes): found for s in TRAINED for rate, found in by_rate.items()}


def test_every_setting_gets_its_own_best_rate():
    found = scores({0.1: 0.5, 0.2: 0.6, 0.4: 0.4}) | {("local", 0.4, 2.0): 0.9}
    chosen = tuning._choice(found)
    assert chosen["learning_rate"] == {"local": 0.4, "federated": 0.2, "centralized": 0.2}
    assert chosen["validation_accuracy"] == {"local": 0.9, "federated": 0.6, "centralized": 0.6}


def test_of_equal_rates_the_lowest_wins():
    assert tuning._best_rate(scores({0.1: 0.5, 0.2: 0.7, 0.4: 0.7}), "local", 2.0) == 0.2


def test_passes_are_one_number_for_all_settings():
    short, long = scores({0.1: 0.6}, 1.0), scores({0.1: 0.7}, 4.0)
    long[("local", 0.1, 4.0)] = 0.1
    assert tuning._choice(short | long)["passes"] == 1.0
    long[("local", 0.1, 4.0)] = 0.5
    assert tuning._choice(short | long)["passes"] == 4.0


def test_the_fewer_passes_win_a_tie():
    assert tuning._choice(scores({0.1: 0.6}, 1.0) | scores({0.1: 0.6}, 4.0))["passes"] == 1.0


@pytest.mark.parametrize(
    ("best", "rates"),
    [(0.1, [0.05, 0.1, 0.2, 0.4]), (0.2, [0.1, 0.2, 0.4]), (0.4, [0.1, 0.2, 0.4, 0.8])],
)
def test_a_winning_edge_moves_the_grid_outward(best, rates):
    found = scores({rate: 0.9 if rate == best else 0.5 for rate in (0.1, 0.2, 0.4)})
    assert tuning._outward(([0.1, 0.2, 0.4], [2.0]), found) == (rates, [2.0])


def test_a_winner_on_the_last_edge_is_told():
    assert tuning._choice(scores({0.1: 0.9, 0.2: 0.5}))["at_an_edge"] == list(TRAINED)
    assert tuning._choice(scores({0.1: 0.5, 0.2: 0.9, 0.4: 0.5}))["at_an_edge"] == []


@pytest.mark.parametrize(("grid_limit", "used"), [(200, 200), (800, 400)])
def test_a_search_trains_on_no_more_than_the_runs_it_is_for(grid_limit, used):
    spec = profiles.read_spec("tiny")
    grid = spec.grid[0].model_copy(update={"common": {"train_limit": grid_limit}})
    spec = spec.model_copy(update={"common": {"rounds": 2}})
    search = profiles.TuningSpec(
        seeds=(7,), learning_rates=(0.1,), passes=(1,), common={"train_limit": 400}
    )
    cell = profiles.Cell("lookalike_fpb", "fedbench-llama", "lora")
    (config,) = tuning._configs(spec, search, grid, cell, ("local", 0.1, 1))
    assert config.train_limit == used


def run_of(config, *records):
    return SimpleNamespace(id=config.id, rounds=records)


def record(accuracy, n=10, federation="global", round_=0):
    return {"federation": federation, "round": round_, "validation_accuracy": accuracy,
            "n_validation": n}  # fmt: skip


def test_validation_is_that_of_the_last_round_weighted_over_all_federations():
    found = SimpleNamespace(id="x", rounds=[
        record(0.0, 30, "a"), record(0.5, 30, "a", 1),
        record(1.0, 10, "b", 1), record(None, 0, "c"),
    ])  # fmt: skip
    assert tuning._validation(found) == (0.5 * 30 + 10) / 40


def test_a_search_without_validation_items_says_what_to_change():
    with pytest.raises(FedbenchError, match=r"raise validation_limit or lower partition.minimum"):
        tuning._validation(SimpleNamespace(id="x", rounds=[record(None, 0)]))


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "tuning.json"
    content = {"other": {"cells": {}}}
    write_json(path, content | {"digest": profiles.tuning_digest(content)})
    for module in (profiles, tuning):
        monkeypatch.setattr(module, "shipped", lambda name: path)
    return path


def test_searches_write_what_they_found_one_after_the_other(file, monkeypatch):
    held, write = [], tuning.write_json

    def writing(path, value):
        held.append(is_held(file.with_name(".lock")))
        write(path, value)

    monkeypatch.setattr(tuning, "write_json", writing)
    monkeypatch.setattr(tuning, "ensure_runs", lambda cs: [run_of(c, record(0.5)) for c in cs])
    tuning.tune("smoke")
    assert held == [True]


def test_a_search_scores_every_point_on_every_seed_and_keeps_the_best(file, monkeypatch):
    """Accuracy peaks at 0.01 for federated and beyond the grid for the others."""
    asked = []

    def fake(configs):
        asked.extend(configs)
        return [run_of(c, record(peak(c))) for c in configs]

    def peak(config):
        best = 0.01 if config.setting == "federated" else 0.05
        return 1 - abs(config.learning_rate - best) - config.seed / 1e6

    monkeypatch.setattr(tuning, "ensure_runs", fake)
    tuning.tune("smoke")
    spec = profiles.read_spec("smoke")
    written = read_json(file)
    assert written["other"] == {"cells": {}}
    assert written["digest"] == profiles.tuning_digest(written)
    assert {config.seed for config in asked} == {*spec.tuning.seeds}
    assert {config.test_limit for config in asked} == {1}
    assert len({config.id for config in asked}) == len(asked)
    own = {cell.key: grid.passes for cell, grid in profiles.cells(spec) if grid.passes}
    assert own
    for key, cell in written["smoke"]["cells"].items():
        assert cell["passes"] in own.get(key, spec.tuning.passes)
        rates = cell["learning_rates_tried"]
        nearest = min(rates, key=lambda rate: abs(rate - 0.05))
        assert cell["learning_rate"]["centralized"] == nearest
        assert len(rates) > len(spec.tuning.learning_rates)


def test_a_cell_of_several_blocks_is_searched_in_the_settings_of_all():
    grids = profiles.searches(profiles.read_spec("rules"))
    asked = {cell: {*grid.settings} & {*TRAINED} for cell, grid in grids.items()}
    assert asked.pop(profiles.Cell("lookalike_fpb", "fedbench-llama", "lora")) == {*TRAINED}
    assert set(map(frozenset, asked.values())) == {frozenset(["federated"])}


@pytest.fixture
def asked(monkeypatch):
    """What a search asks for; every run of it is equally good."""
    asked = []

    def fake(configs):
        asked.extend(configs)
        return [run_of(c, record(0.5)) for c in configs]

    monkeypatch.setattr(tuning, "ensure_runs", fake)
    return asked


def test_a_block_may_be_searched_on_rates_of_its_own(file, asked):
    spec = profiles.read_spec("rules")
    tuning.tune("rules")
    own = {g.common["optimizer"]: g.learning_rates for g in spec.grid if g.learning_rates}
    assert list(own) == ["sgd"]
    assert min(own["sgd"]) > max(spec.tuning.learning_rates)
    for config in asked:
        rates = own.get(config.optimizer, spec.tuning.learning_rates)
        # The lowest of equal rates wins, at an edge, so that every search goes on below.
        assert config.learning_rate <= max(rates)
        assert config.learning_rate >= 0.01 * min(rates)
    cells = read_json(file)["rules"]["cells"].values()
    tried = {len(cell["learning_rates_tried"]) for cell in cells}
    assert tried == {3 + spec.tuning.extensions}


def test_a_search_for_what_is_missing_keeps_what_was_asked_alike_and_who_found_it(
    file, asked, monkeypatch
):
    whole = profiles.read_spec("rules")
    fewer = whole.model_copy(update={"grid": whole.grid[:1]})
    monkeypatch.setattr(tuning, "read_spec", lambda name: fewer)
    tuning.tune("rules")
    before, first = read_json(file)["rules"], {config.id for config in asked}
    monkeypatch.setattr(tuning, "read_spec", lambda name: whole)
    asked.clear()
    tuning.tune("rules", missing=True)
    after = read_json(file)["rules"]
    assert {cell.key for cell in profiles.searches(whole)} == {*after["cells"]}
    code = {"code": before["search"]["code"]}
    for key, found in before["cells"].items():
        assert after["cells"][key] == found | code
    assert asked
    assert not first & {config.id for config in asked}
    asked.clear()
    tuning.tune("rules", missing=True)
    assert not asked
    other = whole.model_copy(update={"common": {**whole.common, "rounds": 99}})
    monkeypatch.setattr(tuning, "read_spec", lambda name: other)
    tuning.tune("rules", missing=True)
    assert {config.rule for config in asked} >= {"fedavg", "scaffold", "hetlora"}


def test_a_profile_may_use_what_the_search_of_another_chose():
    rates = profiles.tuned_values("rules")["lookalike_fpb fedbench-llama lora"]["learning_rate"]
    trained = [run for run in profiles.load("heterogeneity").runs if run.setting in rates]
    assert {run.learning_rate for run in trained if run.rule == "fedavg"} == {*rates.values()}
    assert profiles.search_moved("heterogeneity") == profiles.search_moved("rules")


def test_a_tuning_file_changed_by_hand_is_refused_before_the_search(file, monkeypatch):
    write_json(file, read_json(file) | {"other": {"cells": {"x": 1}}})
    monkeypatch.setattr(tuning, "ensure_runs", None)
    with pytest.raises(FedbenchError, match="changed by hand or damaged"):
        tuning.tune("smoke")


def test_a_search_for_what_the_profile_no_longer_names_is_told(file, monkeypatch):
    monkeypatch.setattr(
        tuning, "ensure_runs", lambda configs: [run_of(c, record(0.5)) for c in configs]
    )
    assert profiles.search_moved("smoke") == ""
    tuning.tune("smoke")
    assert profiles.search_moved("smoke") == ""
    spec = profiles.read_spec("smoke")
    changed = spec.model_copy(update={
        "common": {**spec.common, "rounds": 99},
        "tuning": spec.tuning.model_copy(update={"seeds": (7,)}),
    })  # fmt: skip
    monkeypatch.setattr(profiles, "read_spec", lambda name: changed)
    assert "searched with other runs, seeds than" in profiles.search_moved("smoke")


@pytest.mark.parametrize(
    "change", [{"passes": (99,)}, {"learning_rates": (9.0,)}, {"common": {"rounds": 99}}]
)
def test_a_search_for_what_one_block_no_longer_names_is_told(file, monkeypatch, change):
    monkeypatch.setattr(
        tuning, "ensure_runs", lambda configs: [run_of(c, record(0.5)) for c in configs]
    )
    tuning.tune("smoke")
    spec = profiles.read_spec("smoke")
    grid = (spec.grid[0].model_copy(update=change), *spec.grid[1:])
    changed = spec.model_copy(update={"grid": grid})
    monkeypatch.setattr(profiles, "read_spec", lambda name: changed)
    assert "searched with other runs of single cells than" in profiles.search_moved("smoke")


def test_how_a_backbone_multiplies_is_no_part_of_what_was_searched(file, monkeypatch):
    monkeypatch.setattr(
        tuning, "ensure_runs", lambda configs: [run_of(c, record(0.5)) for c in configs]
    )
    tuning.tune("smoke")
    spec = profiles.read_spec("smoke")
    packed = [
        grid.model_copy(update={"common": {k: v for k, v in grid.common.items() if k != "compute"}})
        for grid in spec.grid
    ]
    assert packed != list(spec.grid)
    changed = spec.model_copy(update={"grid": tuple(packed)})
    monkeypatch.setattr(profiles, "read_spec", lambda name: changed)
    assert profiles.search_moved("smoke") == ""
