"""Rules made for LoRA: what is averaged exactly, and what stays still."""

from __future__ import annotations

import pytest
import torch

from fedbench.models.ranks import narrowed, padded
from fedbench.reduction import weighted_sum
from fedbench.rules import rule_of
from fedbench.rules.flexlora import refactored
from fedbench.rules.rule import Message, Work

from .rounds import becomes, moves, rounds

A, B = "q.lora_A.default.weight", "q.lora_B.default.weight"


def drawn(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        A: torch.randn(2, 6, generator=generator),
        B: torch.randn(5, 2, generator=generator),
    }


START, TRAINED, COUNTS = drawn(0), [drawn(seed) for seed in (1, 2, 3)], (1, 2, 5)
SITES = [(becomes(made), count) for made, count in zip(TRAINED, COUNTS, strict=True)]


def mean_product(made, counts=COUNTS):
    return sum(n * m[B] @ m[A] for m, n in zip(made, counts, strict=True)) / sum(counts)


def test_averaging_factors_is_not_averaging_products():
    """The reason why the rules below exist (peers' defect of averaging A and B separately)."""
    found = rounds("fedavg", START, [SITES])
    exact = mean_product(TRAINED)
    assert (found[B] @ found[A] - exact).norm() / exact.norm() > 0.3


def test_ffa_lora_averages_products_exactly_because_a_never_moves():
    found = rounds("ffa-lora", START, [SITES])
    assert torch.equal(found[A], START[A])
    exact = mean_product([{A: START[A], B: made[B]} for made in TRAINED])
    assert torch.allclose(found[B] @ found[A], exact, atol=1e-6)


def test_ffa_lora_uploads_b_alone():
    rule = rule_of("ffa-lora")
    contribution, _ = rule.upload(Message(START, {}), TRAINED[0], {}, Work(3, 1, 1.0))
    assert contribution.tensors.keys() == {B}


def test_rolora_trains_b_first_and_then_a_and_is_exact_in_every_round():
    step = {n: torch.ones_like(t) for n, t in START.items()}
    adapters = [rounds("rolora", START, [[(moves(step), 1)]] * count) for count in (1, 2, 3)]
    assert torch.equal(adapters[0][A], START[A])
    assert torch.equal(adapters[0][B], START[B] + 1)
    assert torch.equal(adapters[1][A], START[A] + 1)
    assert torch.equal(adapters[1][B], START[B] + 1)
    assert torch.equal(adapters[2][B], START[B] + 2)


def test_rolora_resets_the_still_half_to_what_all_received():
    """A released RoLoRA let the frozen half of one site reach the next."""
    rule = rule_of("rolora")
    message = rule.broadcast(rule.init(START, None), "site-00")
    contribution, _ = rule.upload(message, TRAINED[0], {}, Work(1, 1, 1.0))
    assert contribution.tensors.keys() == {B}


def test_flexlora_finds_the_best_factors_of_the_mean_product():
    found = rounds("flexlora", START, [SITES])
    u, values, v = torch.linalg.svd(mean_product(TRAINED))
    best = u[:, :2] * values[:2] @ v[:2]
    assert (found[B] @ found[A] - best).norm() / best.norm() < 1e-5


def test_flexlora_loses_nothing_where_sites_agree_on_a():
    made = [{A: START[A], B: each[B]} for each in TRAINED]
    sites = [(becomes(m), n) for m, n in zip(made, COUNTS, strict=True)]
    found = rounds("flexlora", START, [sites])
    assert torch.allclose(found[B] @ found[A], mean_product(made), atol=1e-5)


def test_flexlora_keeps_a_way_to_learn_where_nothing_was_learned():
    """With a row of A and its column of B both zero, neither would ever get a gradient."""
    nothing = {A: START[A], B: torch.zeros(5, 2)}
    found = rounds("flexlora", nothing, [[(becomes(nothing), 1)] * 3])
    assert not found[B].any()
    assert torch.allclose(found[A] @ found[A].T, torch.eye(2), atol=1e-6)


@pytest.mark.parametrize(("out", "width", "rank"), [(7, 3, 4), (2, 6, 3), (5, 5, 2)])
def test_factors_keep_their_shapes_where_the_weight_is_thinner_than_the_rank(out, width, rank):
    generator = torch.Generator().manual_seed(5)
    ups = [torch.randn(out, rank, generator=generator) for _ in range(3)]
    downs = [torch.randn(rank, width, generator=generator) for _ in range(3)]
    b, a = refactored(ups, downs, [0.2, 0.3, 0.5], rank)
    assert b.shape == (out, rank)
    assert a.shape == (rank, width)
    if rank >= min(out, width):
        exact = 0.2 * ups[0] @ downs[0] + 0.3 * ups[1] @ downs[1] + 0.5 * ups[2] @ downs[2]
        assert torch.allclose(b @ a, exact, atol=1e-5)


def test_hetlora_averages_factors_by_the_norm_of_their_product():
    norms = [torch.linalg.matrix_norm(made[B] @ made[A]) for made in TRAINED]
    found = rounds("hetlora", START, [SITES])
    for name in (A, B):
        mean = sum(n / sum(norms) * made[name] for n, made in zip(norms, TRAINED, strict=True))
        torch.testing.assert_close(found[name], mean)


def test_hetlora_stays_where_it_is_if_nobody_has_learned_anything():
    fresh = {A: START[A], B: torch.zeros_like(START[B])}
    found = rounds("hetlora", fresh, [[(becomes(fresh), 3), (becomes(fresh), 1)]])
    assert all(torch.equal(found[name], fresh[name]) for name in fresh)


def test_a_rank_that_a_site_lacks_shrinks_under_hetlora_and_stays_under_fedavg():
    """A site with the first of two ranks returns what it got; so does one with both."""
    wide, narrow = dict(START), padded(narrowed(START, 1), 2)

    rule = rule_of("fedavg")
    messages = [Message(adapter, {}) for adapter in (wide, narrow)]
    given = [rule.upload(m, m.adapter, {}, Work(1, 1, 1.0))[0] for m in messages]
    after = rule.server(wide, weighted_sum(iter(given)))
    assert all(torch.equal(after[name], wide[name]) for name in wide)

    rule = rule_of("hetlora")
    given = [rule.upload(m, m.adapter, {}, Work(1, 1, 1.0))[0] for m in messages]
    after = rule.server(wide, weighted_sum(iter(given)))
    share = given[0].weight / (given[0].weight + given[1].weight)
    torch.testing.assert_close(after[A][1], share * wide[A][1])
    torch.testing.assert_close(after[B][:, 0], wide[B][:, 0])


def test_fedsa_lora_averages_a_and_gives_every_site_its_last_b_back():
    rule = rule_of("fedsa-lora")
    state = rule.init(START, None)
    message = rule.broadcast(state, "site-00")
    assert message.adapter.keys() == {A}
    first = rule.own(message, {}, START)
    assert all(torch.equal(first[name], START[name]) for name in START)
    given, kept = zip(
        *(rule.upload(message, made, {}, Work(n, 1, 1.0))
          for made, n in zip(TRAINED, COUNTS, strict=True)), strict=True
    )  # fmt: skip
    assert all(each.tensors.keys() == {A} for each in given)
    after = rule.server(state, weighted_sum(iter(given)))
    mean = sum(n * made[A] for made, n in zip(TRAINED, COUNTS, strict=True)) / sum(COUNTS)
    torch.testing.assert_close(after[A], mean)
    again = rule.broadcast(after, "site-00")
    for mine, made in zip(kept, TRAINED, strict=True):
        own = rule.own(again, mine, START)
        assert torch.equal(own[B], made[B])
        assert torch.equal(own[A], after[A])
    _, later = rule.upload(again, TRAINED[2], kept[0], Work(1, 1, 1.0))
    assert torch.equal(later[B], TRAINED[2][B])
