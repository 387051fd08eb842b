"""Both sides begin with the same tensors and the same loss, or nothing is timed."""

from __future__ import annotations

import pytest
import torch

from fedbench.bench import plain_loop, trainer_loop
from fedbench.bench.rounds import peer_round
from fedbench.bench.shapes import SHAPES, batches_of, config_of, sequences
from fedbench.bench.sides import Side, check_same_work, first_losses, ours, plain
from fedbench.errors import FedbenchError
from fedbench.tokens import Answered
from tests.unit.bench.conftest import SIZE, WORK

CONFIG = config_of(WORK)


def _batches(shape):
    held = sequences(shape, WORK.steps * WORK.batch_size, "test")
    return batches_of(held, CONFIG, "test")


@pytest.fixture
def batches():
    return _batches(SHAPES["one-word answers"])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_plain_loop_and_ours_get_the_same_first_loss(shape):
    mine, other = first_losses(ours(SIZE, CONFIG).model, plain(SIZE, CONFIG).model, _batches(shape))
    assert mine == pytest.approx(other, rel=1e-5)


def test_the_plain_loop_and_ours_get_the_same_losses_and_adapters(batches):
    mine, other = ours(SIZE, CONFIG), plain(SIZE, CONFIG)
    report, losses = mine.train(batches), other.train(batches)
    assert report.loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    theirs = plain_loop.adapter(other.model)
    for name, tensor in plain_loop.adapter(mine.model).items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-6)


def test_trainer_takes_the_same_steps_as_the_plain_loop(batches):
    mine, other = plain(SIZE, CONFIG).model, plain(SIZE, CONFIG).model
    losses = plain_loop.train(mine, batches, 2e-4)
    assert trainer_loop.train(other, batches, 2e-4)[0] == pytest.approx(sum(losses) / len(losses))
    theirs = plain_loop.adapter(other)
    for name, tensor in plain_loop.adapter(mine).items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-6)


def test_a_side_that_trains_other_tensors_is_refused(batches):
    changed = plain(SIZE, CONFIG).model
    next(p for p in changed.parameters() if p.requires_grad).data += 1
    with pytest.raises(FedbenchError, match="same tensors"):
        check_same_work(ours(SIZE, CONFIG).model, changed, batches)


def test_a_side_that_has_another_loss_is_refused(batches):
    changed = plain(SIZE, CONFIG).model
    changed.get_input_embeddings().weight.data *= 1.01
    with pytest.raises(FedbenchError, match="first losses"):
        check_same_work(ours(SIZE, CONFIG).model, changed, batches)


def test_a_plain_batch_ignores_prompts_and_padding():
    batch = plain_loop.pad([Answered((5, 6, 7, 8), 2), Answered((9, 4), 1)])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [9, 4, 1, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 7, 8], [-100, 4, -100, -100]]


def test_a_round_of_a_peer_ends_with_the_weighted_mean_of_what_sites_made():
    adapters = [{"a": torch.tensor([1.0])}, {"a": torch.tensor([4.0])}]
    assert plain_loop.mean(adapters, [2, 1])["a"].item() == pytest.approx(2.0)


def test_every_site_of_a_peer_begins_with_the_shared_adapter(batches):
    model, seen = plain(SIZE, CONFIG).model, []

    def add_one(of_site):
        adapter = plain_loop.adapter(model)
        seen.append(next(iter(adapter.values())).clone())
        plain_loop.load(model, {name: value + 1 for name, value in adapter.items()})

    before = plain_loop.adapter(model)
    peer_round(Side(model, add_one), {"a": batches, "b": batches})
    assert torch.equal(seen[0], seen[1])
    for name, value in plain_loop.adapter(model).items():
        torch.testing.assert_close(value, before[name] + 1)
