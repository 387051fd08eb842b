"""The search: what wins, what a tie means, where the grid goes on, what is written."""

from __future__ import annotations

import pytest

from fedbench import profiles, tuning
from fedbench.config import TRAINED


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
