"""Repeats, their order and their ratios, on a clock that tests move."""

from __future__ import annotations

import pytest

from fedbench.bench.pairs import Spread, interleaved, ratios, spread


def test_a_spread_is_the_median_between_the_extremes():
    assert spread([5.0, 1.0, 2.0]) == Spread(2.0, 1.0, 5.0, 3)
    assert spread([4.0, 2.0]) == Spread(3.0, 2.0, 4.0, 2)


def test_ratios_are_taken_within_a_repeat_so_a_slow_machine_does_not_move_them():
    assert ratios([1.0, 10.0, 100.0], [2.0, 20.0, 200.0]) == Spread(0.5, 0.5, 0.5, 3)


def test_ratios_of_unequal_numbers_of_repeats_are_refused():
    with pytest.raises(ValueError, match="longer"):
        ratios([1.0], [1.0, 2.0])


@pytest.mark.slow
def test_contenders_take_turns_and_none_is_always_first():
    now, called = [0.0], []

    def contender(name, seconds):
        def call():
            called.append(name)
            now[0] += seconds

        return call

    contenders = {"ours": contender("ours", 1.0), "theirs": contender("theirs", 3.0)}
    ticks = []
    seconds = interleaved(contenders, 3, lambda: ticks.append(1), lambda: now[0])
    assert called == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert seconds == {"ours": [1.0, 1.0, 1.0], "theirs": [3.0, 3.0, 3.0]}
    assert len(ticks) == 6
