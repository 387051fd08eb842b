"""Attacks on updates, in closed form, and what each rule makes of them on toy tensors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedbench.attacks import ATTACKS, HONEST, attack_of, canonical, parts_of, wrong_with
from fedbench.errors import FedbenchError
from fedbench.reduction import weighted_sum
from fedbench.rules import rule_of
from fedbench.rules.rule import Contribution
from fedbench.streams import generator

SHAPES = {"A": (3, 5), "B": (4, 3)}
ROBUST = (
    "median",
    "trimmed-mean",
    "krum:hostile=2",
    "geometric-median",
    "norm-clipping",
    "outlier-weighting",
)


def drawn(seed, spread=1.0, about=0.0):
    random = np.random.default_rng(seed)
    return {
        n: torch.from_numpy(about + spread * random.standard_normal(s)) for n, s in SHAPES.items()
    }


def attacked(text, contribution, key=0):
    return attack_of(text).update(contribution, generator("attack", key))


def norm(tensors):
    return math.sqrt(sum(t.square().sum().item() for t in tensors.values()))


def gap(a, b):
    return norm({name: a[name] - b[name] for name in a})


def close(a, b):
    for name in b:
        torch.testing.assert_close(a[name], b[name])


def result(rule, contributions):
    """What a rule adds to an adapter of zeros."""
    rule = rule_of(rule)
    zeros = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    state = rule.init(zeros, None)
    each = iter(contributions)
    state = rule.server(state, weighted_sum(each) if rule.reduce == "sum" else each)
    return rule.broadcast(state, "site-00").adapter


def federation(text, hostile, sites=10):
    """Contributions of sites that learned nearly the same, the first attacked; the others' mean."""
    honest = [Contribution(drawn(k, 0.1, about=1.0), 1.0) for k in range(sites)]
    sent = [attacked(text, c, k) if k < hostile else c for k, c in enumerate(honest)]
    true = honest[hostile:]
    mean = {n: sum(c.tensors[n] for c in true) / len(true) for n in SHAPES}
    return sent, mean


def harm(rule, text, hostile=2):
    """How far a rule ends from the mean of the honest sites, as a share of its norm."""
    sent, mean = federation(text, hostile)
    return gap(result(rule, sent), mean) / norm(mean)


def test_an_honest_site_sends_what_it_learned():
    contribution = Contribution(drawn(0), 3.0)
    assert attack_of("none") is HONEST
    assert attacked("none", contribution) is contribution
    assert HONEST.parts(contribution.tensors) is contribution.tensors


def test_a_flipped_update_is_the_honest_one_backwards():
    update = drawn(1)
    found = attacked("sign-flip", Contribution(update, 3.0))
    assert found.weight == 3.0
    assert all(torch.equal(found.tensors[name], -update[name]) for name in update)


def test_a_site_that_scales_by_the_number_of_sites_replaces_the_model_of_fedavg():
    """Bagdasaryan et al., equation 3: where the others have stopped moving."""
    target = drawn(2)
    still = {name: torch.zeros_like(t) for name, t in target.items()}
    hostile = attacked("scaling:factor=7", Contribution(target, 5.0))
    found = result("fedavg", [hostile, *[Contribution(still, 5.0)] * 6])
    close(found, target)


@pytest.mark.parametrize("std", [0.5, 1, 4])
def test_noise_is_as_long_as_it_says_in_units_of_the_update(std):
    update = drawn(3)
    squares = [
        gap(attacked(f"additive-noise:std={std}", Contribution(update, 1.0), key).tensors, update)
        ** 2
        for key in range(400)
    ]
    expected = (std * norm(update)) ** 2
    # chi-squared with 27 numbers: the mean of 400 is within five standard errors
    assert abs(np.mean(squares) / expected - 1) < 5 * math.sqrt(2 / 27 / 400)


def test_noise_differs_by_round_and_site_and_is_the_same_again():
    update = Contribution(drawn(4), 1.0)
    one, again, other = (attacked("additive-noise", update, key).tensors for key in (0, 0, 1))
    assert gap(one, again) == 0
    assert gap(one, other) > 0


def test_noise_keeps_the_type_of_what_it_is_added_to():
    tensors = {name: tensor.float() for name, tensor in drawn(5).items()}
    found = attacked("additive-noise", Contribution(tensors, 1.0)).tensors
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}


@pytest.mark.parametrize(("text", "value"), [("not-a-number", math.nan), ("infinite", math.inf)])
def test_nothing_of_an_update_is_finite_and_whole_numbers_stay(text, value):
    parts = {"values": torch.ones(4), "places": torch.arange(4)}
    found = attack_of(text).parts(parts)
    torch.testing.assert_close(found["values"], torch.full((4,), value), equal_nan=True)
    assert torch.equal(found["places"], parts["places"])


@pytest.mark.parametrize("rule", sorted({*ROBUST} - {"norm-clipping"}))
def test_a_fifth_of_sites_that_flip_moves_fedavg_further_than_robust_rules(rule):
    assert harm("fedavg", "sign-flip") == pytest.approx(0.4, abs=0.02)  # of ten, 2 x 2 are lost
    assert harm(rule, "sign-flip") < 0.25 * harm("fedavg", "sign-flip")


def test_clipping_does_not_notice_a_flip_because_it_is_no_longer_than_the_others():
    assert harm("norm-clipping", "sign-flip") == pytest.approx(
        harm("fedavg", "sign-flip"), rel=0.05
    )


@pytest.mark.parametrize("rule", ROBUST)
@pytest.mark.parametrize(
    "text", ["scaling:factor=10", "sign-flip+scaling:factor=10", "additive-noise:std=10"]
)
def test_a_fifth_of_sites_with_long_updates_moves_fedavg_further_than_any_robust_rule(rule, text):
    assert harm(rule, text) < 0.5 * harm("fedavg", text)


@pytest.mark.parametrize("rule", ["trimmed-mean", "trimmed-mean:share=0.3"])
def test_a_trimmed_mean_withstands_the_share_that_it_cuts_and_no_more(rule):
    cut = 3 if "0.3" in rule else 2
    text = "sign-flip+scaling:factor=1000"
    assert harm(rule, text, hostile=cut) < 0.1
    assert harm(rule, text, hostile=cut + 1) > 10


def test_attacks_in_a_row_are_done_in_order_by_the_same_site():
    update = Contribution(drawn(6), 2.0)
    both = attacked("sign-flip+scaling:factor=3", update).tensors
    assert all(torch.equal(both[name], -3 * t) for name, t in update.tensors.items())
    row = attack_of("backdoor+scaling")
    assert row.goal is attack_of("backdoor").goal or row.goal.triggered
    assert row.differences


@given(st.floats(0.001, 1e12))
def test_the_canonical_name_is_read_as_the_same_attacks(factor):
    text = f"scaling:factor={factor!r}+sign-flip"
    once = canonical(text)
    assert canonical(once) == once
    assert len(parts_of(once)) == 2
    update = Contribution({"x": torch.ones(1, dtype=torch.float64)}, 1.0)
    assert attacked(once, update).tensors["x"].item() == -factor


def test_names_are_canonical():
    assert canonical("none") == "none"
    assert canonical("scaling:factor=10+backdoor:share=0.5") == "scaling+backdoor"
    assert canonical("additive-noise:std=2.0") == "additive-noise:std=2"


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("sign-flop", "did you mean sign-flip?"),
        ("scaling:factr=2", "did you mean factor?"),
        ("scaling:factor=0", "factor must be above 0"),
        ("additive-noise:std=-1", "std must not be negative"),
        ("backdoor:share=0", "share must be above 0"),
        ("backdoor:share=1.5", "share must be above 0 and at most 1"),
        ("none+sign-flip", "'none' is not known"),
        ("", "is not known"),
    ],
)
def test_a_name_that_is_wrong_is_told_what_is_right(text, clause):
    assert clause in wrong_with(text)
    with pytest.raises(FedbenchError, match="attack = "):
        attack_of(text)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_has_a_name_that_stands_for_itself(name):
    assert canonical(name) == name
    assert not wrong_with(name)
    assert attack_of(name) != HONEST
