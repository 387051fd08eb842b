from __future__ import annotations

import dataclasses

import pytest

from fedbench.report import status as standings
from fedbench.report.status import (
    Standing,
    duration,
    reasons,
    rebuild_time,
    standing,
    status,
    table,
    to_do,
)


def timed(run, seconds):
    return dataclasses.replace(run, provenance={**run.provenance, "seconds": seconds})


def test_a_run_is_missing_fresh_or_stale_by_what_moved(save, config, monkeypatch):
    asked = config("federated")
    assert standing(asked) == Standing(asked, "missing")

    save(asked)
    monkeypatch.setattr(standings, "moved", lambda run: "")
    assert standing(asked) == Standing(asked, "fresh")

    monkeypatch.setattr(standings, "moved", lambda run: "the data of fpb have changed")
    assert standing(asked) == Standing(asked, "stale", "the data of fpb have changed")


def test_a_recorded_run_is_never_done_again(save, config, monkeypatch):
    run = dataclasses.replace(save(config("federated")), recorded=True)
    monkeypatch.setattr(standings.store, "load", lambda run_id: run)
    monkeypatch.setattr(standings, "moved", lambda run: "the code has moved")

    assert standing(run.config).state == "recorded"
    assert to_do([standing(run.config)]) == []


def test_the_time_left_is_the_median_of_runs_of_the_same_kind_over_the_cores(save, config):
    finished = [timed(save(config("federated", seed)), 10.0 * (seed + 1)) for seed in range(3)]
    waiting = [config("federated", seed) for seed in (3, 4, 5, 6)]
    found = rebuild_time(waiting, finished, cores=2, share_of_profile=0.5, minutes=99)

    assert found.seconds == 4 * 20 / 2
    assert found.source.startswith("measured")


def test_runs_take_time_in_proportion_to_their_passes(save, config):
    finished = [timed(save(config("federated", passes=5)), 30.0)]
    found = rebuild_time([config("federated", passes=10)], finished, 2, 1.0, 99)

    assert found.seconds == 60


def test_a_run_on_another_task_counts_where_there_is_no_closer_one(save, config):
    finished = [timed(save(config("federated", task="lookalike_medqa")), 30.0)]

    assert rebuild_time([config("federated")], finished, 2, 1.0, 99).seconds == 30


@pytest.mark.parametrize("limit", [{"test_limit": 1}, {"train_limit": 9}, {"generated": 0}])
def test_runs_of_a_search_say_nothing_about_the_time_of_whole_runs(save, config, limit):
    finished = [timed(save(config("federated", seed, **limit)), 1.0) for seed in range(3)]
    finished.append(timed(save(config("federated", 3)), 30.0))

    assert rebuild_time([config("federated", 4)], finished, 2, 1.0, 99).seconds == 30


def test_runs_that_share_a_gpu_share_no_cores(save, config):
    finished = [timed(save(config("federated", device="cuda")), 30.0)]
    waiting = [config("federated", seed, device="cuda") for seed in (1, 2)]
    found = rebuild_time(waiting, finished, 16, 1.0, 99)

    assert found.seconds == 60
    assert found.source.endswith("one after the other")


def test_where_a_run_has_none_of_its_kind_the_profile_is_asked(save, config):
    finished = [timed(save(config("federated")), 30.0)]
    found = rebuild_time([config("federated", 1), config("base")], finished, 2, 0.25, minutes=20)

    assert found.seconds == 5 * 60
    assert "the profile's file says 20 minutes for all, and 1 runs" in found.source


def test_nothing_to_do_takes_no_time():
    assert rebuild_time([], [], 2, 0.0, 20).seconds == 0


def test_counts_stand_by_task_backbone_and_method(config):
    asked = config("federated")
    lines = table([Standing(asked, "stale", "why"), Standing(asked, "missing")])

    assert [line.split() for line in lines] == [
        ["task", "backbone", "method", "fresh", "recorded", "stale", "missing"],
        ["fpb", "fedbench-llama", "lora", "0", "0", "1", "1"],
        ["all", "0", "0", "1", "1"],
    ]


def test_each_reason_is_told_once_with_its_number(config):
    asked = config("federated")

    assert reasons([Standing(asked, "stale", "why"), Standing(asked, "stale", "why")]) == [
        "2 stale: why."
    ]


@pytest.mark.parametrize(
    ("seconds", "said"), [(59.6, "60 seconds"), (120, "2 minutes"), (7200, "2.0 hours")]
)
def test_times_are_told_in_the_unit_that_people_would_use(seconds, said):
    assert duration(seconds) == said


def test_a_profile_that_was_never_run_lacks_all_of_it():
    *_, last = status("tiny")

    assert last.startswith("To be done: 44 of 44 runs, in about 2 minutes (expected:")


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (None, "missing, make energy measures it"),
        ({"moved": True, "measurements": [1]}, "stale, because code or suite have moved"),
        ({"moved": False, "measurements": [1, 2]}, "fresh, 2 of 27 measured: make energy goes on"),
        ({"moved": False, "measurements": [1] * 27}, "fresh, 27 of 27 measured"),
    ],
)
def test_the_energy_suite_is_told_too(monkeypatch, record, told):
    monkeypatch.setattr(standings.suite, "found", lambda profile: record)
    assert standings._energy("smoke").startswith(told)
    assert standings._energy("cpu") == "the profile has none"
