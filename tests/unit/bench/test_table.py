"""From a record's seconds to ratios, targets and verdicts, in numbers done by hand."""

from __future__ import annotations

import math

import pytest

from fedbench.bench.table import rows
from fedbench.bench.targets import target_of, verdict

STEPS = {
    "size": "7M",
    "shape": "one-word answers",
    "steps": 2,
    "flops": 4e9,
    "seconds": {
        "ours": [1.0, 2.0, 4.0],
        "plain loop": [4.0, 4.0, 8.0],
        "plain loop, no dropout": [2.0, 4.0, 8.0],
        "ours, same dropout": [2.0, 2.0, 4.0],
    },
}
ROUND = {
    "size": "7M",
    "shape": "long answers",
    "cohort": 2,
    "bytes_down": 4e6,
    "bytes_up": 2e6,
    "seconds": {"ours": [1.1], "plain loop": [2.2], "Trainer": [4.4]},
    "training_seconds": [1.0],
}


def _alone(who, seconds, peak, rounds=10):
    known = {"who": who, "size": "2M", "shape": "one-word answers", "rounds": rounds}
    used = {"seconds": seconds, "user_seconds": seconds / 2, "peak_bytes": peak}
    return known | used | {"steps": 40 * rounds}


def _record(**parts):
    empty = {"peak_flops": 8e9, "steps": [], "rounds": [], "alone": [], "start_up": {}}
    return empty | parts


def _by_quantity(record):
    return {row.quantity: row for row in rows(record)}


@pytest.mark.parametrize(
    ("median", "most", "said"),
    [
        (0.36, 0.40, "met by 10 %"),
        (0.40, 0.40, "met by 0 %"),
        (0.50, 0.40, "missed by 25 %"),
        (1.0, None, ""),
    ],
)
def test_a_verdict_says_by_what_share_of_the_target(median, most, said):
    assert verdict(median, most) == said


def test_targets_hold_for_their_own_shape_only():
    assert target_of("step / plain loop", "one-word answers") == 0.40
    assert target_of("step / plain loop", "long answers") == 0.60
    assert target_of("step / plain loop", "multiple choice") is None
    assert target_of("round / Trainer", "multiple choice") == 0.30
    assert target_of("step / plain loop, no dropout", "one-word answers") is None


def test_steps_are_compared_repeat_by_repeat():
    found = _by_quantity(_record(steps=[STEPS]))
    ratio = found["step / plain loop"]
    assert (ratio.median, ratio.lowest, ratio.highest, ratio.n) == (0.5, 0.25, 0.5, 3)
    assert (ratio.target, ratio.verdict) == (0.40, "missed by 25 %")
    assert found["step / plain loop, no dropout"].median == 0.5
    assert found["step / plain loop, same dropout in both"].median == 0.5


def test_a_step_is_told_in_milliseconds_and_as_a_share_of_the_peak():
    found = _by_quantity(_record(steps=[STEPS]))
    assert (found["step, ours"].median, found["step, ours"].unit) == (1000.0, "ms")
    assert found["share of the matrix-product peak"].median == 4e9 / 2.0 / 8e9


def test_a_round_stands_beside_its_steps_and_its_peers():
    found = _by_quantity(_record(rounds=[ROUND]))
    assert found["round / its own steps"].median == pytest.approx(1.1)
    assert found["round / its own steps"].verdict == "missed by 5 %"
    assert found["round / Trainer"].verdict == "met by 17 %"
    assert found["round / plain loop"].median == pytest.approx(0.5)
    assert (found["wire, down per site"].median, found["wire, up per site"].median) == (2.0, 1.0)


def test_processes_are_compared_in_time_only_where_they_did_as_many_rounds():
    every = [_alone("ours", 10.0, 4e8), _alone("Flower", 50.0, 1e9), _alone("Trainer", 9.0, 8e8, 1)]
    found = _by_quantity(_record(alone=every))
    assert found["whole process, time / Flower"].verdict == "met by 33 %"
    assert found["whole process, memory / Flower"].verdict == "met by 20 %"
    assert found["whole process, memory / Trainer"].median == 0.5
    assert "whole process, time / Trainer" not in found


def test_a_process_says_how_many_steps_it_made_on_how_much_processor_time():
    found = _by_quantity(_record(alone=[_alone("ours", 10.0, 4e8)]))
    user = found["whole process, user time, ours"]
    assert (user.median, user.unit) == (5.0, "s")
    assert found["whole process, steps, ours"].median == 400


def test_what_is_not_installed_is_a_row_that_says_so():
    absent = {"who": "Flower", "size": "2M", "shape": "x", "rounds": 10, "missing": "not installed"}
    found = _by_quantity(_record(alone=[_alone("ours", 10.0, 4e8), absent]))
    row = found["whole process, time / Flower"]
    assert (row.verdict, row.n, row.target) == ("not installed", 0, 0.30)
    assert math.isnan(row.median)


def test_start_up_is_held_against_half_a_second():
    found = _by_quantity(_record(start_up={"help": [0.4, 0.6, 0.5], "imports of a run": [7.0]}))
    assert found["start-up, help"].verdict == "met by 0 %"
    assert found["start-up, imports of a run"].target is None
