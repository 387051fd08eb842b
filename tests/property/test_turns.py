"""Equal passes and whole batches, whatever the sizes, shares and rounds."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.train import batches_of_turn, examples_of_turn


@settings(max_examples=200, deadline=None)
@given(
    count=st.integers(1, 40),
    passes=st.integers(1, 6),
    turns=st.integers(1, 12),
    seed=st.integers(0, 5),
)
def test_every_example_is_processed_exactly_passes_times_over_all_turns(count, passes, turns, seed):
    quota = count * (passes / turns)
    taken = [examples_of_turn(count, quota, turn, seed, "site") for turn in range(turns)]
    assert Counter(i for some in taken for i in some) == dict.fromkeys(range(count), passes)


@settings(max_examples=200, deadline=None)
@given(
    count=st.integers(1, 30),
    quota=st.floats(0.01, 100, allow_nan=False),
    turns=st.integers(1, 10),
)
def test_after_any_number_of_turns_no_example_is_ahead_by_more_than_one(count, quota, turns):
    seen = Counter(i for turn in range(turns) for i in examples_of_turn(count, quota, turn, 0))
    assert set(seen) <= set(range(count))
    assert max(seen[i] for i in range(count)) - min(seen[i] for i in range(count)) <= 1
    assert abs(seen.total() - math.floor(turns * quota)) <= 1


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=60),
    size=st.integers(1, 9),
    data=st.data(),
)
def test_batches_hold_what_was_chosen_and_all_but_few_are_full(lengths, size, data):
    chosen = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=200))
    batches = batches_of_turn(lengths, chosen, size, 0, "site", 0)
    assert Counter(i for batch in batches for i in batch) == Counter(chosen)
    assert len(batches) == -(-len(chosen) // size)
    assert all(1 <= len(batch) <= size for batch in batches)
