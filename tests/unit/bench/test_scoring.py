"""Scoring beside plain ways to answer: same predictions, and a table that says what was timed."""

from __future__ import annotations

import pytest

from fedbench.bench.scoring import MANY, NAIVE, ONE, OURS, measure, table


@pytest.mark.slow
def test_ours_predicts_what_a_forward_per_choice_does_and_every_way_is_timed():
    found = measure(items=6, repeats=1)
    for row in found["rows"]:
        assert row["predicted_otherwise"] == 0
        assert set(row["milliseconds_an_item"]) == {OURS, NAIVE, ONE, MANY}
        assert all(time["median"] > 0 for time in row["milliseconds_an_item"].values())
    shown = "\n".join(table(found))
    assert "6 items, 0 predicted otherwise" in shown
    assert shown.count("x as fast") == 3 * len(found["rows"])
