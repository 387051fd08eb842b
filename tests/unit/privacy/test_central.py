"""Privacy of sites: nobody moves the sum by more than the limit, and the noise is what it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from fedbench.errors import FedbenchError
from fedbench.privacy import central
from fedbench.privacy.central import private_sum
from fedbench.privacy.clipping import clipped, norm
from fedbench.privacy.noise import noised, real, simulated
from fedbench.rules.rule import Contribution
from fedbench.wire import schema_of

SHAPES = {"a": (3, 2), "b": (4,)}
SCHEMA = schema_of({name: torch.zeros(shape) for name, shape in SHAPES.items()})


def drawn(seed, scale=1.0, shapes=None):
    random = torch.Generator().manual_seed(seed)
    shapes = shapes or SHAPES
    return {name: torch.randn(shape, generator=random) * scale for name, shape in shapes.items()}


def silent(count):
    return np.zeros(count)


def total(updates, clip=1.0, noise=0.0, denominator=1.0, source=silent):
    heard = iter([Contribution(update, weight) for update, weight in updates])
    return private_sum(heard, SCHEMA, clip, noise, denominator, source)


def difference(a, b):
    return norm({name: a.total[name].double() - b.total[name] for name in a.total})


@settings(max_examples=300, deadline=None)
@given(scale=st.floats(1e-20, 1e20), limit=st.floats(1e-6, 1e6), seed=st.integers(0, 10**6))
def test_what_is_clipped_never_exceeds_the_limit_not_even_by_rounding(scale, limit, seed):
    assert norm(clipped(drawn(seed, scale), limit)) <= limit


def test_what_is_within_the_limit_stays_as_it_is_and_what_is_not_keeps_its_direction():
    small = drawn(0, 0.01)
    assert all(torch.equal(clipped(small, 1.0)[name], small[name]) for name in small)
    large = drawn(0, 50)
    scale = norm(large)
    for name, tensor in clipped(large, 2.0).items():
        torch.testing.assert_close(tensor, large[name] * 2 / scale)


def test_the_norm_is_that_of_all_tensors_together():
    assert norm({"a": torch.tensor([3.0]), "b": torch.tensor([[4.0]])}) == 5
    assert norm({}) == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_not_clipped(bad):
    with pytest.raises(FedbenchError, match="a is not finite"):
        clipped({"a": torch.tensor([bad, 1.0])}, 1.0)


def most_that_a_site_moves(reduce, tries=400):
    """The largest difference that one site more makes, over random cohorts and hostile sites."""
    random = np.random.default_rng(0)
    worst = 0.0
    for seed in range(tries):
        others = [(drawn(seed * 31 + i, 10 ** random.uniform(-2, 2)), random.integers(1, 500))
                  for i in range(random.integers(0, 4))]  # fmt: skip
        one = drawn(seed * 31 + 30, 10 ** random.uniform(-1, 4)), random.integers(1, 500)
        worst = max(worst, difference(reduce([*others, one]), reduce(others)))
    return worst


def test_no_site_moves_the_sum_by_more_than_the_limit_and_some_by_as_much():
    worst = most_that_a_site_moves(lambda updates: total(updates, clip=0.7))
    assert 0.7 * 0.999 < worst <= 0.7 * (1 + 1e-6)


def test_in_a_cohort_of_thousands_rounding_does_not_let_a_site_move_the_sum_by_more(monkeypatch):
    """What counts is the sum before noise; all updates pull the same way, so that it is large."""
    sums = []

    def noise(tensors, std, source):
        sums.append(tensors)
        return dict(tensors)

    monkeypatch.setattr(central, "noised", noise)
    for count in (2000, 1999):
        total([(drawn(1, 100.0), 1)] * count, clip=0.7)
    moved = norm({name: sums[0][name].double() - sums[1][name] for name in SHAPES})
    assert moved <= 0.7 * (1 + 1e-9)


def test_noise_for_a_mean_weighted_by_examples_would_have_to_be_larger():
    """As in released systems: clip, average by examples, and add z C / n for n sites.

    One site's weight may be far more than 1 / n: the mean moves by more than C / n.
    """

    def weighted_mean(updates):
        updates = updates or [(drawn(0, 0.0), 1)]
        whole = sum(weight for _, weight in updates)
        scaled = [({k: t * (w / whole) for k, t in clipped(u, 0.7).items()}, 1) for u, w in updates]
        return total(scaled, clip=1e9)

    sites = 3
    others = [(drawn(i, 100.0), 1) for i in range(sites - 1)]
    moved = difference(weighted_mean([*others, (drawn(9, 100.0), 500)]), weighted_mean(others))
    assert moved > 2 * 0.7 / sites
    assert difference(total([*others, (drawn(9, 100.0), 500)], 0.7), total(others, 0.7)) <= 0.7


def test_the_number_of_examples_does_not_count():
    updates = [drawn(0), drawn(1)]
    few = total([(update, 1.0) for update in updates], denominator=2.0)
    many = total(zip(updates, (3.0, 4000.0), strict=True), denominator=2.0)
    assert difference(few, many) == 0
    assert few.weight == many.weight == 2.0


def test_a_cohort_of_nobody_releases_noise():
    found = total([], clip=2.0, noise=1.5, denominator=0.5, source=simulated(0))
    assert schema_of(found.total) == SCHEMA
    assert norm(found.total) > 0
    assert found.weight == 0.5


LARGE = {"a": (300, 200), "b": (5000,)}


@pytest.mark.parametrize("source", [simulated(3, 1), real()])
def test_noise_is_gaussian_of_the_standard_deviation_that_was_asked_for(source):
    found = noised({n: torch.zeros(s) for n, s in LARGE.items()}, 0.3, source)
    numbers = torch.cat([tensor.flatten() for tensor in found.values()]).numpy() / 0.3
    assert kstest(numbers, "norm").pvalue > 1e-6
    assert numbers.std() == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(found["a"].flatten()[:5000], found["b"])[0, 1]) < 0.08


def test_simulated_noise_is_a_function_of_its_key_and_real_noise_of_nothing():
    def drawn_from(source):
        return noised({"a": torch.zeros(50)}, 1, source)["a"]

    assert torch.equal(drawn_from(simulated(1, 2)), drawn_from(simulated(1, 2)))
    assert not torch.equal(drawn_from(simulated(1, 2)), drawn_from(simulated(1, 3)))
    assert not torch.equal(drawn_from(real()), drawn_from(real()))


def test_noise_is_added_to_what_was_there():
    one = noised({"a": torch.full((4,), 5.0)}, 2.0, simulated(1))["a"]
    torch.testing.assert_close(one - 5, noised({"a": torch.zeros(4)}, 2.0, simulated(1))["a"])
