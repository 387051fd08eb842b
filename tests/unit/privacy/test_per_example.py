"""Privacy of examples: each one's gradient is clipped by itself, whatever is trained."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.models.attached import attached
from fedbench.models.methods import METHODS
from fedbench.privacy.clipping import clipped, norm
from fedbench.privacy.noise import simulated
from fedbench.privacy.per_example import poisson_batches, private
from fedbench.resolving import resolve
from fedbench.tokens import Answered
from fedbench.train import LocalObjective, by_batch, train
from tests import bigram

SEQUENCES = bigram.sequences((1, 2), (3, 4), (1, 5))


def silent(count):
    return np.zeros(count)


def gradients(model, gradient, sequences):
    for parameter in model.parameters():
        parameter.grad = None
    found = gradient(model, sequences)
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}, found


def protected(config, model, clip, noise=0.0, expected=3.0, source=silent, **values):
    return private(by_batch(model, config), clip, noise, expected, source, **values)


def test_without_limit_or_noise_it_is_the_plain_gradient():
    config, model = bigram.config(), bigram.Bigram()
    plain, before = gradients(model, by_batch(model, config), SEQUENCES)
    found, after = gradients(model, protected(config, model, 1e9), SEQUENCES)
    for name, tensor in plain.items():
        torch.testing.assert_close(found[name], tensor)
    torch.testing.assert_close(after.loss, before.loss)


@pytest.mark.parametrize("method", ["lora", "qlora", "ia3", "full"])
def test_the_gradients_of_examples_add_up_whatever_is_trained(method, backbones):
    config = resolve(
        RunConfig(task="lookalike_fpb", backbone=str(backbones("llama")), method=method, rank=2)
    )
    sequences = [Answered((5, 6, 7, 8, 2), 3), Answered((5, 6, 9, 2), 2), Answered((4, 3, 2), 2)]
    with attached(config) as model:
        one_by_one = [gradients(model, by_batch(model, config), [s])[0] for s in sequences]
        limit = 0.5 * norm(one_by_one[0])
        found, _ = gradients(model, protected(config, model, limit), sequences)
    assert found.keys() == one_by_one[0].keys()
    for name, tensor in found.items():
        parts = [clipped(own, limit)[name] for own in one_by_one]
        torch.testing.assert_close(tensor, sum(parts) / 3, rtol=1e-5, atol=1e-8)
    assert {"lora", "qlora", "ia3", "full"} == set(METHODS)


def test_one_example_more_moves_the_sum_by_no_more_than_the_limit():
    config, model = bigram.config(), bigram.Bigram()
    gradient = protected(config, model, 0.1, expected=1.0)
    for count in range(3):
        with_it, _ = gradients(model, gradient, SEQUENCES[: count + 1])
        without, _ = gradients(model, gradient, SEQUENCES[:count])
        assert norm({n: with_it[n] - without[n] for n in with_it}) <= 0.1 * (1 + 1e-6)


def test_an_empty_batch_is_noise_and_a_step_all_the_same():
    config, model = bigram.config(), bigram.Bigram()
    gradient = protected(config, model, 0.1, noise=2.0, source=simulated(1))
    report = train(model, [[], SEQUENCES], config, (0, 1), LocalObjective(), gradient)
    assert (report.steps, report.examples) == (2, 3)
    found, accumulated = gradients(model, gradient, [])
    assert norm(found) > 0
    assert accumulated.flops == 0


def test_noise_has_the_standard_deviation_of_limit_and_multiplier_by_expected_size():
    config, model = bigram.config(), bigram.Bigram()
    gradient = protected(config, model, 0.5, noise=4.0, expected=8.0, source=simulated(7))
    drawn = [torch.cat([t.flatten() for t in gradients(model, gradient, [])[0].values()])
             for _ in range(60)]  # fmt: skip
    assert torch.cat(drawn).std().item() == pytest.approx(0.5 * 4 / 8, rel=0.05)


def test_a_parameter_without_a_gradient_is_refused_and_not_left_unprotected():
    config, model = bigram.config(), bigram.Bigram()
    model.unused = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(FedbenchError, match="unused has no gradient of one example"):
        protected(config, model, 1.0)(model, SEQUENCES)


def test_what_stays_as_it_is_does_not_count():
    config, model = bigram.config(), bigram.Bigram()
    gradient = protected(config, model, 1e9, frozen=frozenset({"table"}))
    gradient(model, SEQUENCES[:1])
    limit = 0.5 * float(model.bias.grad.norm()) * 3
    protected(config, model, limit, frozen=frozenset({"table"}))(model, SEQUENCES[:1])
    assert float(model.bias.grad.norm()) * 3 == pytest.approx(limit, rel=1e-4)


def test_every_example_is_in_every_batch_with_the_same_probability():
    batches = poisson_batches(20, 0.3, 2000, 0, "site")
    counts = np.bincount([i for batch in batches for i in batch], minlength=20)
    assert (abs(counts / 2000 - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 2000)).all()
    sizes = np.array([len(batch) for batch in batches])
    assert sizes.var() == pytest.approx(20 * 0.3 * 0.7, rel=0.15)
    assert batches == poisson_batches(20, 0.3, 2000, 0, "site")
    assert batches != poisson_batches(20, 0.3, 2000, 0, "other")


def test_an_example_without_a_finite_gradient_counts_for_nothing_and_no_server_is_told(caplog):
    """Whoever chose the adapter could have seen to it that only one example has none."""
    config, model = bigram.config(), bigram.Bigram()
    gradient = protected(config, model, 0.1)
    without, _ = gradients(model, gradient, SEQUENCES[1:])
    with torch.no_grad():
        model.table[SEQUENCES[0].tokens[0]] = float("inf")
    found, _ = gradients(model, gradient, SEQUENCES[:2])
    alone, _ = gradients(model, gradient, SEQUENCES[1:2])
    assert all(torch.equal(found[name], alone[name]) for name in without)
    assert all(torch.isfinite(tensor).all() for tensor in found.values())
    assert "1 examples are not finite" in caplog.text
