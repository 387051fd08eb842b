"""What is timed: lengths, and how much of it a round processes."""

from __future__ import annotations

import pytest

from fedbench.bench.plan import STANDARD
from fedbench.bench.shapes import (
    SHAPES,
    SIZES,
    Work,
    batches_of,
    config_of,
    holdings,
    make_backbone,
    parameters,
    sequences,
)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_sequences_share_their_instruction_and_keep_to_the_longest_length(shape):
    made = sequences(shape, 200, "x")
    first = {each.tokens[: shape.prefix] for each in made}
    last = {each.tokens[each.start - shape.suffix : each.start] for each in made}
    assert len(first) == len(last) == 1
    assert max(len(each.tokens) for each in made) <= shape.longest
    assert all(len(each.tokens) - each.start >= 2 and each.tokens[-1] == 0 for each in made)


def test_a_label_is_one_token_and_the_end():
    made = sequences(SHAPES["one-word answers"], 50, "x")
    assert {len(each.tokens) - each.start for each in made} == {2}


def test_a_site_makes_exactly_the_steps_of_the_work_and_sees_each_example_once():
    work = Work(sites=3, cohort=2, steps=4, batch_size=5)
    held = holdings(SHAPES["multiple choice"], work)
    assert len(held) == 3
    batches = batches_of(held["site01"], config_of(work), "site01")
    assert [len(batch) for batch in batches] == [5] * 4
    assert sorted(s.tokens for b in batches for s in b) == sorted(s.tokens for s in held["site01"])


def test_sizes_are_called_by_what_they_have():
    millions = {name: round(parameters(size) / 1e6) for name, size in SIZES.items()}
    assert millions == {"2M": 2, "7M": 7, "30M": 31}


def test_parameters_are_counted_within_a_percent():
    size = SIZES["2M"]
    assert parameters(size) == pytest.approx(make_backbone(size).num_parameters(), rel=0.01)


def test_the_standard_plan_has_enough_repeats_and_every_size_and_shape():
    assert STANDARD.repeats >= 5
    assert {(t.size.name, t.shape.name) for t in STANDARD.steps} == {
        (size, shape) for size in SIZES for shape in SHAPES
    }
    assert {t.size.name for t in STANDARD.rounds} == {"2M", "7M"}
