"""Measures of how much sites differ: closed forms, bounds, and updates of every rule."""

from __future__ import annotations

import math
import random
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedbench.config import PartitionConfig
from fedbench.heterogeneity import Spread, divergence, gini, of_sites, watched
from fedbench.partition import make_partition
from fedbench.reduction import weighted_sum
from fedbench.rules import RULES, rule_of
from fedbench.rules.rule import Contribution, Message, Work
from fedbench.tasks import load_task

COUNTS = st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 50)), max_size=6)


def spread_of(*updates):
    """The spread of (weight, update) pairs."""
    spread = Spread()
    for weight, update in updates:
        spread.add(update and {n: torch.tensor(v) for n, v in update.items()}, weight)
    return spread.value


def test_sites_alike_do_not_diverge_whatever_their_sizes():
    assert divergence([{"a": 3, "b": 1}, {"a": 30, "b": 10}]) == pytest.approx(0, abs=1e-12)
    assert divergence([{"a": 5}, {"a": 7}]) == 0
    assert divergence([{"a": 5, "b": 2}]) == 0
    assert divergence([]) == 0


def test_disjoint_sites_diverge_fully():
    assert divergence([{"a": 4}, {"b": 4}]) == pytest.approx(1)
    assert divergence([{"a": 2, "b": 2}, {"c": 1, "d": 7}]) == pytest.approx(1)
    assert divergence([{"a": 2}, {"b": 1}, {"a": 5}, {"b": 3}]) == pytest.approx(1)


def test_the_divergence_of_two_equal_sites_is_that_of_jensen_and_shannon():
    """0.5 KL(P|M) + 0.5 KL(Q|M) in bits, over the entropy of the mean M, which is 1 here."""
    p, q, m = (0.75, 0.25), (0.25, 0.75), (0.5, 0.5)
    kl = [sum(x * math.log2(x / y) for x, y in zip(one, m, strict=True)) for one in (p, q)]
    assert divergence([{"a": 3, "b": 1}, {"a": 1, "b": 3}]) == pytest.approx(sum(kl) / 2)


@given(COUNTS)
def test_a_divergence_is_from_zero_to_one_and_does_not_depend_on_order(counts):
    found = divergence(counts)
    assert 0 <= found <= 1
    assert divergence(counts[::-1]) == pytest.approx(found, abs=1e-9)


def test_the_gini_coefficient_has_its_known_values():
    assert gini([5, 5, 5]) == pytest.approx(0)
    assert gini([0, 0, 0, 8]) == pytest.approx(1 - 1 / 4)
    assert gini([1, 3]) == pytest.approx(0.25)
    assert gini([7]) == gini([]) == 0


@given(st.lists(st.integers(0, 100), min_size=1, max_size=8))
def test_the_gini_coefficient_is_the_mean_difference_over_twice_the_mean(sizes):
    apart = sum(abs(a - b) for a in sizes for b in sizes)
    expected = apart / (2 * len(sizes) * sum(sizes)) if sum(sizes) else 0
    assert gini(sizes) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "high", "low"),
    [
        ("label", "label_divergence", ("topic_divergence", "size_imbalance")),
        ("dirichlet", "topic_divergence", ("label_divergence",)),
        ("quantity", "size_imbalance", ("topic_divergence", "label_divergence")),
    ],
)
def test_a_kind_of_partition_shows_in_its_own_measure(kind, high, low):
    task = load_task("lookalike_fpb")

    def measured(**fields):
        partition = make_partition(task.examples, PartitionConfig(sites=4, **fields), 0)
        return of_sites(partition, task.examples, classes=True)

    skewed, even = measured(kind=kind, alpha=0.3), measured()
    assert skewed[high] > 0.25 > 0.05 > even[high]
    assert all(skewed[name] < skewed[high] for name in low)


def test_letters_of_options_have_no_divergence():
    task = load_task("lookalike_medqa")
    partition = make_partition(task.examples, PartitionConfig(sites=2), 0)
    assert of_sites(partition, task.examples, classes=False)["label_divergence"] is None


def test_updates_alike_have_no_spread():
    assert spread_of((1, {"w": [1.0, 2.0]}), (9, {"w": [1.0, 2.0]})) == pytest.approx(0, abs=1e-6)
    assert spread_of((3, {"w": [0.3]})) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("sites", [2, 5])
def test_orthogonal_updates_of_one_length_have_a_spread_of_one_less_their_share(sites):
    updates = [(7, {"w": (3.0 * torch.eye(sites)[n]).tolist()}) for n in range(sites)]
    assert spread_of(*updates) == pytest.approx(1 - 1 / sites)


def test_updates_that_cancel_have_a_spread_of_one():
    assert spread_of((1, {"w": [4.0]}), (4, {"w": [-1.0]})) == pytest.approx(1)


def test_the_spread_is_over_all_tensors_together_and_is_the_share_of_variance():
    weights = torch.tensor([0.2, 0.3, 0.5])
    updates = torch.tensor([[1.0, 2.0, 0.5], [0.0, 1.0, 3.0], [-1.0, 2.0, 2.0]])
    mean = weights @ updates
    variance = weights @ (updates - mean).square().sum(1)
    pairs = [
        (10 * w.item(), {"a": u[:2].tolist(), "b": u[2:].tolist()})
        for w, u in zip(weights, updates, strict=True)
    ]
    expected = (variance / (weights @ updates.square().sum(1))).item()
    assert spread_of(*pairs) == pytest.approx(expected, rel=1e-5)


def test_the_spread_is_the_same_to_the_bit_in_whatever_order_tensors_are_read():
    generator = torch.Generator().manual_seed(0)
    names = [f"tensor-{number}" for number in range(40)]
    updates = [
        {n: torch.randn(50, generator=generator) / (1 + k) for k, n in enumerate(names)}
        for _ in range(2)
    ]
    found = set()
    for turn in range(20):
        order, spread = random.Random(turn).sample(names, len(names)), Spread()
        for weight, update in enumerate(updates, start=1):
            spread.add({name: update[name] for name in order}, weight)
        found.add((spread.squares, spread.value))
    assert len(found) == 1


def test_for_equal_weights_the_spread_is_told_by_the_gradient_diversity():
    updates = torch.tensor([[1.0, 2.0], [0.0, 1.0], [-1.0, 2.0]])
    diversity = (updates.square().sum() / updates.sum(0).square().sum()).item()
    found = spread_of(*((1, {"w": u.tolist()}) for u in updates))
    assert found == pytest.approx(1 - 1 / (3 * diversity))


@pytest.mark.parametrize(
    "updates",
    [
        [(1, {"w": [0.0]})],
        [(1, {"w": [math.nan]}), (1, {"w": [1.0]})],
        [(1, {"w": [1.0]}), (1, None)],
        [(1, {"w": [1.0]}), (1, {"w": [1.0, 2.0]})],
        [],
    ],
)
def test_there_is_no_spread_where_nobody_moved_or_updates_cannot_be_compared(updates):
    assert spread_of(*updates) is None


LORA = {
    "l.lora_A.weight": torch.arange(6.0).reshape(2, 3) / 7,
    "l.lora_B.weight": torch.ones(4, 2),
}


def contributed(rule, sites=2):
    """A state, and what each site made of it and gave."""
    config = SimpleNamespace(method="lora", participation=1.0)
    state = rule.init(LORA, config)
    made, given = [], []
    for number in range(sites):
        generator = torch.Generator().manual_seed(number)
        message = rule.broadcast(state, f"site-{number}")
        still = rule.local(message, {}).frozen
        trained = {
            n: t if n in still else t + torch.randn(t.shape, generator=generator)
            for n, t in message.adapter.items()
        }
        made.append({n: trained[n] - t for n, t in message.adapter.items()})
        given.append(rule.upload(message, trained, {}, Work(number + 2, 3, 0.7))[0])
    return state, made, given


#: rules whose contributions do not say by how much a site moved
UNTOLD = {"majority-vote"}


@pytest.mark.parametrize("name", sorted({*RULES} - UNTOLD))
def test_every_rule_tells_by_how_much_a_sites_adapter_moved(name):
    rule = rule_of(name)
    state, made, given = contributed(rule)
    for number, contribution in enumerate(given):
        moved = rule.moved(rule.broadcast(state, f"site-{number}"), contribution)
        for tensor, update in made[number].items():
            told = moved.get(tensor, torch.zeros(()))  # what was not trained need not be told
            torch.testing.assert_close(told.expand_as(update), update)
        assert moved.keys() <= made[number].keys()


@pytest.mark.parametrize("name", RULES)
def test_watching_contributions_changes_nothing_that_a_server_sees(name):
    rule = rule_of(name)
    state, made, given = contributed(rule)
    spread, sent = Spread(), ((f"site-{n}", c) for n, c in enumerate(given))
    seen = watched(rule, partial(rule.broadcast, state), sent, spread)
    whole = weighted_sum(seen) if rule.reduce == "sum" else seen
    after = rule.server(state, whole)
    bare = rule.server(state, weighted_sum(iter(given)) if rule.reduce == "sum" else iter(given))
    assert all(torch.equal(after[key], bare[key]) for key in bare)
    expected = spread_of(
        *(
            (g.weight, {k: v.tolist() for k, v in m.items()})
            for g, m in zip(given, made, strict=True)
        )
    )
    if name in UNTOLD:
        assert spread.value is None
    else:
        assert spread.value == pytest.approx(expected, rel=1e-5)


def test_a_borrowed_sum_gives_the_very_same_spread_and_none_is_kept_beside_it():
    rule = rule_of("fedavg")
    state, _, given = contributed(rule)
    own, borrowing = Spread(), Spread(borrows=True)
    for spread in (own, borrowing):
        sent = ((f"site-{n}", c) for n, c in enumerate(given))
        whole = weighted_sum(watched(rule, partial(rule.broadcast, state), sent, spread))
    assert borrowing.total == {}
    borrowing.total = whole.total
    assert borrowing.value == own.value > 0


def test_a_borrowed_sum_of_updates_of_other_shapes_has_no_spread():
    spread = Spread(borrows=True)
    spread.add({"w": torch.ones(2)}, 1.0)
    spread.add({"w": torch.ones(3)}, 1.0)
    assert spread.value is None


def test_one_contribution_is_in_memory_at_a_time():
    alive = []

    class Loud(dict):
        def __del__(self):
            alive.remove(1)

    def heard():
        for number in range(5):
            assert len(alive) <= 1  # the one before may still be held by whoever asked for it
            alive.append(1)
            yield f"site-{number}", Contribution(Loud(w=torch.ones(3)), 1.0)

    spread = Spread()
    weighted_sum(watched(rule_of("fedavg"), lambda site: Message({}, {}), heard(), spread))
    assert spread.value == pytest.approx(0, abs=1e-6)


def test_factors_of_another_rank_have_no_difference():
    rule = rule_of("flexlora")
    smaller = Contribution({"l.lora_A.weight": torch.ones(1, 3)}, 1.0)
    assert rule.moved(rule.broadcast(LORA, "a"), smaller) is None
