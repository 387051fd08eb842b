"""FedAvg against what its paper says, in closed form."""

from __future__ import annotations

import itertools

import torch

from fedbench.reduction import weighted_sum
from fedbench.rules import rule_of
from fedbench.rules.rule import Contribution, Work

FEDAVG = rule_of("fedavg")
START = {"w": torch.tensor([1.0, 2.0, -4.0]), "v": torch.tensor([[8.0]])}

#: (what a site made of the start, its number of examples); all sums are exact in binary.
SITES = [
    ({"w": torch.tensor([2.0, 2.0, 0.0]), "v": torch.tensor([[0.0]])}, 1),
    ({"w": torch.tensor([1.0, 6.0, -4.0]), "v": torch.tensor([[16.0]])}, 5),
    ({"w": torch.tensor([-1.0, 2.0, 4.0]), "v": torch.tensor([[8.0]])}, 2),
]


def one_round(sites, start=START):
    state = FEDAVG.init(start, None)
    contributions = []
    for number, (trained, examples) in enumerate(sites):
        message = FEDAVG.broadcast(state, f"site-{number}")
        contribution, kept = FEDAVG.upload(message, trained, {}, Work(examples, 1, 1.0))
        assert kept == {}
        contributions.append(contribution)
    after = FEDAVG.server(state, weighted_sum(iter(contributions)))
    return FEDAVG.broadcast(after, "site-0").adapter


def test_the_server_takes_the_mean_weighted_by_examples():
    found = one_round(SITES)
    total = sum(n for _, n in SITES)
    for name in START:
        mean = sum(trained[name] * n for trained, n in SITES) / total
        assert torch.equal(found[name], mean)
    assert found["w"].tolist() == [(2 + 5 - 2) / 8, (2 + 30 + 4) / 8, (0 - 20 + 8) / 8]


def test_the_order_of_sites_does_not_matter():
    results = [one_round(order) for order in itertools.permutations(SITES)]
    for found in results:
        assert all(torch.equal(found[name], results[0][name]) for name in START)


def test_identical_sites_count_as_one():
    once, thrice = one_round(SITES[:1]), one_round(SITES[:1] * 3)
    assert all(torch.equal(once[name], thrice[name]) for name in START)


def test_a_site_alone_becomes_the_server():
    found = one_round(SITES[1:2])
    assert all(torch.equal(found[name], SITES[1][0][name]) for name in START)


def test_sites_that_learned_nothing_change_nothing():
    found = one_round([(START, 3), (START, 4)])
    assert all(torch.equal(found[name], START[name]) for name in START)


def test_every_site_is_heard():
    """The released FLoRA kept only the first (peers.md, 1)."""
    found = one_round(SITES)
    for left_out in range(len(SITES)):
        others = one_round([site for i, site in enumerate(SITES) if i != left_out])
        assert not all(torch.equal(found[name], others[name]) for name in START)


def test_nothing_that_comes_in_is_changed_in_place():
    start = {name: tensor.clone() for name, tensor in START.items()}
    sites = [({name: t.clone() for name, t in trained.items()}, n) for trained, n in SITES]
    one_round(sites, start)
    for name in START:
        assert torch.equal(start[name], START[name])
        assert all(
            torch.equal(a[name], b[name]) for (a, _), (b, _) in zip(sites, SITES, strict=True)
        )


def test_the_weighted_sum_adds_weights_and_products():
    parts = [Contribution({"w": torch.tensor([1.0, 2.0])}, 2.0),
             Contribution({"w": torch.tensor([-1.0, 0.5])}, 4.0)]  # fmt: skip
    reduced = weighted_sum(iter(parts))
    assert reduced.weight == 6.0
    assert reduced.total["w"].tolist() == [-2.0, 6.0]


def test_fedavg_needs_only_a_sum_so_that_secure_aggregation_can_supply_it():
    assert FEDAVG.reduce == "sum"
