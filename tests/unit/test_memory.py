"""A batch that memory does not hold is done in parts, and its gradient is the same to rounding."""

from __future__ import annotations

import pytest
import torch

from fedbench import train as training
from fedbench.train import LocalObjective, NoMemory, by_batch, train
from tests import bigram

#: one, two or three answer tokens each, so that parts weigh differently
SEQUENCES = [
    training.Answered(tokens, 1)
    for tokens in [(1, 2, 0), (3, 4, 5, 0), (1, 0), (2, 5, 1, 0), (4, 1, 0)]
]


def gradient(holds=None, sequences=SEQUENCES):
    model = bigram.Bigram()
    with torch.no_grad():
        model.table.copy_(torch.arange(49.0).reshape(7, 7) / 49)
    found = by_batch(model, bigram.config(), holds)(model, sequences)
    return {name: p.grad for name, p in model.named_parameters()}, found


@pytest.mark.parametrize(("holds", "size"), [(4, 2), (3, 2), (2, 2), (1, 1)])
def test_the_gradient_in_parts_is_that_of_the_batch_to_rounding(holds, size):
    (whole, usual), (parts, found) = gradient(), gradient(holds)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.loss, usual.loss, rtol=1e-6, atol=1e-6)
    assert (found.flops, found.micro_batch) == (usual.flops, size)
    assert usual.micro_batch is None


@pytest.mark.parametrize("holds", [5, 6, None])
def test_a_batch_that_fits_is_done_at_once_to_the_bit(holds):
    (whole, _), (same, found) = gradient(), gradient(holds)
    assert all(torch.equal(same[name], whole[name]) for name in whole)
    assert found.micro_batch is None


def test_where_not_one_sequence_fits_the_site_has_failed():
    with pytest.raises(NoMemory, match="does not hold even one example"):
        gradient(0)


def exhausted():
    raise torch.OutOfMemoryError


def allocates_too_much():
    torch.empty(2**60, dtype=torch.uint8)


def python_has_none():
    raise MemoryError


@pytest.mark.parametrize("fail", [exhausted, allocates_too_much, python_has_none])
def test_what_a_failed_attempt_left_in_the_gradient_does_not_count(monkeypatch, fail):
    """Memory runs out in the backward pass, when a part of the gradient is there already."""
    plain, calls = training.plain, []

    def failing(model, batch):
        calls.append(len(batch.input_ids))
        loss = plain(model, batch)
        if len(batch.input_ids) > 2:
            fail()
        return loss

    expected, _ = gradient()
    monkeypatch.setattr(training, "plain", failing)
    found, told = gradient()
    assert (calls, told.micro_batch) == ([5], 2)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-6)


def test_an_error_that_is_not_of_memory_is_not_hidden(monkeypatch):
    def failing(model, batch):
        raise RuntimeError("The shapes do not fit.")

    monkeypatch.setattr(training, "plain", failing)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        gradient()


def test_later_batches_are_cut_like_the_one_that_did_not_fit_and_the_report_says_how():
    model, config = bigram.Bigram(), bigram.config()
    tried = by_batch(model, config, 2)
    batches = [SEQUENCES, SEQUENCES[:1], SEQUENCES]
    report = train(model, batches, config, (0, 1), LocalObjective(), tried)
    assert report.micro_batch == 2
    assert report.steps == 3
    sound = train(bigram.Bigram(), batches, config, (0, 1), LocalObjective())
    assert sound.micro_batch is None
    assert report.loss == pytest.approx(sound.loss, abs=1e-5)


def test_training_that_ends_in_an_exception_leaves_no_gradient_and_a_model_that_can_be_scored():
    model, config = bigram.Bigram(), bigram.config()
    inner = by_batch(model, config)

    def crashing(model, sequences):
        inner(model, sequences)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(model, [SEQUENCES], config, (0, 1), LocalObjective(), crashing)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
