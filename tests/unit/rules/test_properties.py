"""What holds for every rule, whatever it does."""

from __future__ import annotations

import itertools

import pytest
import torch

from fedbench.rules import RULES, rule_of
from fedbench.rules.rule import Work

from .rounds import LORA, becomes, moves, rounds

A, B = "q.lora_A.default.weight", "q.lora_B.default.weight"


def drawn(seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return {
        A: scale * torch.randn(2, 5, generator=generator),
        B: scale * torch.randn(4, 2, generator=generator),
    }


START = drawn(0)
SITES = [
    (moves(drawn(seed, 0.1)), examples)
    for seed, examples in ((1, 1), (2, 5), (3, 2), (4, 4), (5, 3))
]


def close(found, expected, tolerance=1e-5):
    return all((found[n] - expected[n]).norm() <= tolerance * expected[n].norm() for n in expected)


def product(adapter):
    """What the model computes: the adapter's product, and what was added to the backbone."""
    change = adapter[f"delta/{B}"] @ adapter[f"delta/{A}"] if f"delta/{B}" in adapter else 0
    return {"BA": adapter[B] @ adapter[A] + change}


@pytest.mark.parametrize("name", RULES)
def test_the_order_of_sites_does_not_matter(name):
    expected = product(rounds(name, START, [SITES]))
    for order in itertools.islice(itertools.permutations(SITES), 0, None, 7):
        assert close(product(rounds(name, START, [order])), expected)


@pytest.mark.parametrize("name", RULES)
def test_sites_that_learned_nothing_change_nothing_that_the_model_computes(name):
    still = [(moves({n: torch.zeros_like(t) for n, t in START.items()}), k) for k in (3, 4, 1)]
    expected = product(START)
    assert close(product(rounds(name, START, [still] * 3)), expected, 1e-6)


@pytest.mark.parametrize("name", RULES)
def test_identical_sites_do_what_one_of_them_does_alone(name):
    # A pair: Krum needs another site to compare with.
    pair, many = ([(moves(drawn(1, 0.1)), 2)] * count for count in (2, 5))
    assert close(product(rounds(name, START, [pair])), product(rounds(name, START, [many])))


@pytest.mark.parametrize("name", RULES)
def test_nothing_that_comes_in_is_changed_in_place(name):
    start = {n: t.clone() for n, t in START.items()}
    trained = [drawn(seed) for seed in (1, 2, 3)]
    kept = [{n: t.clone() for n, t in made.items()} for made in trained]
    rounds(name, start, [[(becomes(made), 1) for made in trained]] * 2)
    assert all(torch.equal(start[n], START[n]) for n in START)
    assert all(torch.equal(a[n], b[n]) for a, b in zip(trained, kept, strict=True) for n in a)


@pytest.mark.parametrize("name", RULES)
def test_states_hold_no_shared_memory_and_only_float_tensors(name):
    """A checkpoint writes them in fp32, and reads the same back."""
    states = []
    rounds(name, START, [SITES], states.append)
    assert all(tensor.dtype == torch.float32 for tensor in states[0].values())


#: rules for which weights by examples are no part of the definition
UNWEIGHTED = {"majority-vote", "median", "trimmed-mean", "krum", "hetlora"}


@pytest.mark.parametrize("name", sorted({*RULES} - UNWEIGHTED))
def test_counts_of_examples_matter_by_their_ratio_only(name):
    many = [(train, 10 * examples) for train, examples in SITES]
    assert close(product(rounds(name, START, [many])), product(rounds(name, START, [SITES])))
    alike = [(train, 3) for train, _ in SITES]
    found = product(rounds(name, START, [alike]))
    assert not close(found, product(rounds(name, START, [SITES])), 1e-4)


@pytest.mark.parametrize("name", sorted(UNWEIGHTED))
def test_a_site_cannot_gain_weight_by_claiming_many_examples(name):
    greedy = [(SITES[0][0], 10_000), *SITES[1:]]
    assert close(product(rounds(name, START, [greedy])), product(rounds(name, START, [SITES])), 0)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_whether_sites_keep_a_state_of_their_own(name):
    rule = rule_of(name)
    message = rule.broadcast(rule.init(START, LORA), "site-00")
    trained = rule.own(message, {}, START)
    assert bool(rule.upload(message, trained, {}, Work(1, 1, 1.0))[1]) == rule.keeps
