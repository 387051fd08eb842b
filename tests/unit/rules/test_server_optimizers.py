"""FedProx, and the rules whose server moves by moments, against their papers in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fedbench.rules import rule_of
from fedbench.rules.rule import Message

from .rounds import moves, rounds

START = {"w": torch.tensor([1.0, -2.0])}
UP = [(moves({"w": torch.tensor([0.5, 1.0])}), 1), (moves({"w": torch.tensor([1.5, -1.0])}), 1)]
MEAN = torch.tensor([1.0, 0.0])


def after(text, count):
    return rounds(text, START, [UP] * count)["w"]


def test_fedavgm_adds_up_what_it_has_learned():
    moved = after("fedavgm:momentum=0.5,rate=0.1", 3) - START["w"]
    assert torch.allclose(moved, 0.1 * (1 + 1.5 + 1.75) * MEAN)


def test_fedavgm_without_momentum_is_fedavg():
    assert torch.equal(after("fedavgm:momentum=0", 2), after("fedavg", 2))


def test_fedadagrad_divides_by_the_root_of_all_squares_so_far():
    moved = after("fedadagrad:rate=0.1,tau=0.5", 2)[0] - 1
    steps = [0.1 / (math.sqrt(0.25 + k) + 0.5) for k in (1, 2)]
    assert moved.item() == pytest.approx(sum(steps), rel=1e-6)


def test_fedadam_divides_by_the_root_of_a_running_mean():
    moved = after("fedadam:rate=0.1,beta1=0.5,beta2=0.75,tau=0.5", 2)[0] - 1
    v1 = 0.75 * 0.25 + 0.25
    v2 = 0.75 * v1 + 0.25
    steps = [0.1 * m / (math.sqrt(v) + 0.5) for m, v in ((0.5, v1), (0.75, v2))]
    assert moved.item() == pytest.approx(sum(steps), rel=1e-6)


def test_fedyogi_moves_its_second_moment_by_the_square_alone():
    moved = after("fedyogi:rate=0.1,beta1=0,beta2=0.75,tau=0.5", 2)[0] - 1
    # 0.25 and 0.5 are below the square of the update, which is 1: both times a quarter is added.
    steps = [0.1 / (math.sqrt(v) + 0.5) for v in (0.5, 0.75)]
    assert moved.item() == pytest.approx(sum(steps), rel=1e-6)


def test_fedyogi_shrinks_its_second_moment_where_updates_are_small():
    small = [(moves({"w": torch.tensor([0.1, 0.0])}), 1)]
    moved = rounds("fedyogi:rate=0.1,beta1=0,beta2=0.5,tau=1", START, [small])["w"][0] - 1
    assert moved.item() == pytest.approx(0.1 * 0.1 / (math.sqrt(1 - 0.5 * 0.01) + 1), rel=1e-5)


@pytest.mark.parametrize("name", ["fedavgm", "fedadagrad", "fedadam", "fedyogi"])
def test_moments_stay_with_the_server(name):
    rule = rule_of(name)
    message = rule.broadcast(rule.init(START, None), "site-00")
    assert message.adapter.keys() == START.keys()
    assert not message.extra


def test_fedprox_pulls_with_mu_times_the_distance():
    message = Message({"w": torch.tensor([1.0, 2.0])}, {})
    penalty = rule_of("fedprox:mu=0.5").local(message, {}).penalty
    parameter = nn.Parameter(torch.tensor([3.0, 2.0]))
    cost = penalty({"w": parameter})
    assert cost.item() == 0.25 * 4
    cost.backward()
    assert parameter.grad.tolist() == [0.5 * 2.0, 0.0]


def test_fedprox_with_no_pull_costs_nothing():
    message = Message({"w": torch.tensor([1.0])}, {})
    penalty = rule_of("fedprox:mu=0").local(message, {}).penalty
    assert penalty({"w": nn.Parameter(torch.tensor([5.0]))}).item() == 0
