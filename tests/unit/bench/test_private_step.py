"""What privacy of examples costs a step: fewer steps here, but the same code."""

from __future__ import annotations

import pytest

from fedbench.bench import private_step


@pytest.fixture(scope="module")
def found():
    return private_step.measure(methods=["ia3"], steps=1, repeats=3)


def test_both_gradients_are_timed_in_every_repeat(found):
    one = found["methods"]["ia3"]
    for side in ("plain", "private", "times_plain"):
        assert one[side]["n"] == 3
        assert 0 < one[side]["lowest"] <= one[side]["median"] <= one[side]["highest"]


def test_the_table_has_a_line_for_every_method(found):
    lines = private_step.table(found)
    assert [line.split()[0] for line in lines[2:]] == ["ia3"]
