"""The span check on toy models: what it recovers, and where it must fail."""

from __future__ import annotations

import pytest
import torch

from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.leakage.defences import Defence
from fedbench.leakage.inversion import (
    Overlap,
    distances,
    distances_through,
    gradient_of_step,
    in_span,
    most_frequent,
    nearest,
    overlap,
    tokens_read,
)
from fedbench.leakage.inverting import EVERY_POSITION, QUERY, invert
from fedbench.resolving import resolve
from fedbench.tokens import Answered


@pytest.fixture
def config(backbones, toy_task):
    def of(method, **changes):
        return resolve(
            RunConfig(
                task=toy_task,
                backbone=str(backbones("llama")),
                method=method,
                setting="centralized",
                max_tokens=64,
                generated=0,
                **changes,
            )
        )

    return of


def units(count, width, seed=0):
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, width, generator=random, dtype=torch.float64)
    return drawn / drawn.norm(dim=1, keepdim=True)


def test_tokens_in_the_span_are_found_and_no_others():
    inputs = units(200, 32)
    batch = [3, 50, 120]
    rows = units(16, 3, seed=1) @ inputs[batch]
    assert in_span(distances(rows, inputs)) == set(batch)
    assert nearest(distances(rows, inputs), 3) == set(batch)


def test_fewer_rows_than_tokens_span_too_little():
    inputs = units(200, 32)
    rows = units(4, 12, seed=1) @ inputs[:12]
    assert in_span(distances(rows, inputs)) == set()


def test_a_gradient_of_nothing_tells_nothing():
    inputs = units(10, 4)
    assert in_span(distances(torch.zeros(3, 4, dtype=torch.float64), inputs)) == set()
    assert in_span(distances(torch.full((3, 4), torch.nan).double(), inputs)) == set()


def test_an_update_of_one_step_is_its_gradient():
    update = {"w": torch.tensor([-0.2, 0.4])}
    torch.testing.assert_close(gradient_of_step(update, 0.1)["w"], torch.tensor([2.0, -4.0]))


def test_sets_of_tokens_are_compared_and_guessed():
    sequences = [Answered((5, 5, 6, 9), 3), Answered((5, 6, 7, 9), 3)]
    assert tokens_read(sequences) == {5, 6, 7}
    assert most_frequent(sequences, 2) == {5, 6}
    assert overlap({5, 8}, {5, 6, 7}) == Overlap(2, 0.5, 1 / 3)
    assert overlap(set(), {5}) == Overlap(0, 0, 0)


def test_full_fine_tuning_gives_every_token_of_a_batch_away(config):
    found = invert(config("full"), 1, batches=3)
    assert found.span.recall == found.nearest.recall == 1
    assert found.span.precision == 1
    assert found.baseline.recall < 1


def test_a_query_says_nothing_of_a_first_position(config):
    everything, queries = (
        invert(config("full"), 1, batches=3, **chosen) for chosen in ({}, {"projections": QUERY})
    )
    assert 0.8 < queries.span.recall < everything.span.recall


def test_under_lora_only_as_many_dimensions_as_the_rank_are_told(config):
    wide, narrow = (invert(config("lora", rank=rank), 1, batches=3) for rank in (16, 1))
    assert wide.span.recall == 1
    assert wide.span.precision == 1
    assert narrow.span.recall < 0.2
    assert narrow.tokens > 3


def test_in_the_first_step_of_lora_b_tells_what_a_does_not(config):
    """B is zero, and so is the gradient of A; a batch has fewer tokens than the rank, or more."""
    wide, narrow = (
        invert(config("lora", rank=rank), 1, batches=3, before=0, projections=EVERY_POSITION)
        for rank in (48, 4)
    )
    assert wide.tokens < 48
    assert wide.span.recall == 1
    assert wide.nearest.recall > wide.baseline.recall
    assert narrow.nearest.recall < 0.5


def test_spans_behind_a_factor_exclude_what_lies_outside_of_any():
    inputs, reads = units(100, 32), [units(12, 32, seed=s) for s in (1, 2)]
    batch = [4, 60]
    rows = [units(20, 2, seed=3) @ inputs[batch] @ a.T for a in reads]
    assert in_span(distances_through([*zip(rows, reads, strict=True)], inputs, 1e-9)) == set(batch)
    rows[1] = units(20, 2, seed=3) @ inputs[[4, 61]] @ reads[1].T
    assert in_span(distances_through([*zip(rows, reads, strict=True)], inputs, 1e-9)) == {4}


def test_noise_on_the_update_hides_the_tokens(config):
    def noisy(number):
        random = torch.Generator().manual_seed(number)
        return lambda update: {
            name: t + torch.randn(t.shape, generator=random) for name, t in update.items()
        }

    found = invert(config("full"), 1, Defence("noise", sent=noisy), batches=3)
    assert found.nearest.recall < 0.5
    assert found.defence == "noise"


def test_ia3_cannot_be_inverted_this_way(config):
    with pytest.raises(FedbenchError, match="span check cannot be used on ia3"):
        invert(config("ia3"), 1, batches=1)


def test_batches_that_take_all_examples_are_refused(config):
    with pytest.raises(FedbenchError, match="take fewer or smaller batches"):
        invert(config("full"), 16, batches=16)
