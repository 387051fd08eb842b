"""Optimizers that are used again forget everything, and begin like new ones."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Parameter

from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.optimizers import OPTIMIZERS, fresh, reusing
from fedbench.resolving import resolve

HERE = [name for name in OPTIMIZERS if not name.endswith("paged")]


def config(name):
    return RunConfig(task="toy", optimizer=name, weight_decay=0.1)


def turn(start, parameter, seed):
    """Three steps from the same values, on gradients drawn from ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
    optimizer = start([parameter])
    for _ in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 0.1
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return parameter.detach().clone()


@pytest.mark.parametrize("name", HERE)
def test_a_turn_does_not_know_of_the_turn_before(name):
    shape = (80, 80)  # bitsandbytes quantises no moment of fewer than 4,096 values
    once, again = reusing(config(name)), Parameter(torch.empty(shape))
    turn(once, again, seed=1)
    expected = turn(fresh(config(name)), Parameter(torch.empty(shape)), seed=2)
    assert torch.equal(turn(once, again, seed=2), expected)


@pytest.mark.parametrize(
    ("name", "buffer"), [("adamw", "exp_avg"), ("adamw-8bit", "state1"), ("adamw-8bit", "absmax2")]
)
def test_buffers_are_used_again(name, buffer):
    """Those of a paged optimizer would be lost otherwise: they are never given back."""
    start, parameter = reusing(config(name)), Parameter(torch.empty(80, 80))
    turn(start, parameter, seed=1)
    optimizer = start([parameter])
    moments = optimizer.state[parameter][buffer].data_ptr()
    turn(start, parameter, seed=2)
    assert start([parameter]) is optimizer
    assert optimizer.state[parameter][buffer].data_ptr() == moments


def test_paged_moments_are_forgotten_as_all_others_in_eight_bits():
    assert OPTIMIZERS["adamw-8bit-paged"].forget is OPTIMIZERS["adamw-8bit"].forget


def test_other_parameters_get_an_optimizer_of_their_own():
    start, one, other = reusing(config("sgd")), Parameter(torch.ones(1)), Parameter(torch.ones(1))
    assert start([one]) is not start([other])
    assert start([one, other]).param_groups[0]["params"] == [one, other]


def test_sgd_steps_by_rate_times_gradient_and_decay():
    parameter = Parameter(torch.tensor([2.0]))
    optimizer = fresh(config("sgd"))([parameter])
    optimizer.param_groups[0]["lr"] = 0.5
    parameter.grad = torch.tensor([1.0])
    optimizer.step()
    assert parameter.item() == pytest.approx(2.0 - 0.5 * (1.0 + 0.1 * 2.0))


def test_moments_in_eight_bits_take_a_byte_each():
    parameter = Parameter(torch.empty(80, 80))
    optimizer = fresh(config("adamw-8bit"))([parameter])
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert optimizer.state[parameter]["state1"].dtype == torch.uint8


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adam", r"optimizer = 'adam' is not known, did you mean adamw\?"),
        ("adamw-8bit-paged", r"no meaning on a CPU.*: take adamw-8bit"),
    ],
)
def test_an_optimizer_that_cannot_be_had_is_refused(name, message):
    with pytest.raises(FedbenchError, match=message):
        resolve(config(name))
