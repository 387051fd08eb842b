"""Numbers as words: exact to the stated precision, never beyond the bound, never wrapping."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.errors import FedbenchError
from fedbench.secure_aggregation import FixedPoint, clipped, decoded, encoded

SHAPES = {"b": (3, 2), "a": (4,), "scalar": ()}


def _tensors(seed, bound):
    random = torch.Generator().manual_seed(seed)
    return {n: (torch.rand(s, generator=random) * 2 - 1) * bound for n, s in SHAPES.items()}


@settings(deadline=None, max_examples=50)
@given(
    st.integers(0, 10_000),
    st.lists(st.floats(1e-3, 1), min_size=1, max_size=9),
    st.floats(1e-6, 1e6),
    st.sampled_from([32, 64]),
)
def test_a_sum_of_words_is_the_weighted_sum_to_half_a_unit_a_site(seed, weights, bound, bits):
    scheme = FixedPoint(len(weights), bound, bits)
    each = [clipped(_tensors(seed + n, bound), bound) for n in range(len(weights))]
    words = sum(encoded(t, w, scheme) for t, w in zip(each, weights, strict=True))
    total, weight = decoded(words, SHAPES, scheme)
    # a double of a sum of n numbers within the bound is off by this much, whatever the words
    double = len(weights) * bound * 2**-51
    assert weight == pytest.approx(sum(weights), abs=len(weights) / 2 / scheme.top + 1e-14)
    for name in SHAPES:
        plain = sum(t[name].double() * w for t, w in zip(each, weights, strict=True))
        allowed = len(weights) / 2 * scheme.unit + double + plain.abs() * 2**-24
        assert ((total[name].double() - plain).abs() <= allowed).all()


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("sites", [1, 2, 16, 1023])
@pytest.mark.parametrize("sign", [1, -1])
def test_all_sites_at_the_bound_do_not_wrap(sites, sign, bits):
    scheme = FixedPoint(sites, 0.3, bits)
    one = encoded({"x": torch.full((5,), sign * 0.3, dtype=torch.float64)}, 1.0, scheme)
    words = np.multiply(one, sites, dtype=one.dtype)
    total, weight = decoded(words, {"x": (5,)}, scheme)
    assert total["x"].tolist() == pytest.approx([sign * 0.3 * sites] * 5, rel=1e-6)
    assert weight == pytest.approx(sites)


def test_a_unit_is_what_the_documentation_says_for_sixteen_sites():
    assert FixedPoint(16, 1.0).unit == pytest.approx(2 * 16 / 2**32, rel=1e-7)
    assert FixedPoint(16, 1.0, 64).unit == 2**-53


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(bad):
    tensors = {"layer.A": torch.tensor([0.0, bad])}
    with pytest.raises(FedbenchError, match="not finite"):
        encoded(tensors, 1.0, FixedPoint(2, 1.0))
    with pytest.raises(FedbenchError, match="not finite"):
        encoded(clipped({"x": torch.tensor([math.nan])}, 1.0), 1.0, FixedPoint(2, 1.0))


@pytest.mark.parametrize("beyond", [1.01, -1.01])
def test_what_is_out_of_bounds_is_refused_whatever_its_weight_or_clipped_if_so_wished(beyond):
    tensors = {"layer.A": torch.tensor([0.0, beyond])}
    with pytest.raises(FedbenchError, match=r"beyond what secure sums hold.*secure\.bound"):
        encoded(tensors, 0.1, FixedPoint(2, 1.0))
    assert clipped(tensors, 1.0)["layer.A"].tolist() == [0.0, math.copysign(1, beyond)]


@pytest.mark.parametrize("bound", [1e-3, 0.1, 0.3, 0.7, 1.0, 4.0, 1e-6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_was_clipped_is_accepted_though_its_type_lacks_the_bound(bound, dtype):
    tensors = clipped({"x": torch.tensor([5.0, -5.0], dtype=dtype)}, bound)
    assert 0.99 * bound <= float(tensors["x"].max()) <= bound
    words = encoded(tensors, 1.0, FixedPoint(2, bound))
    total, _ = decoded(words, {"x": (2,)}, FixedPoint(2, bound))
    assert total["x"].tolist() == pytest.approx(tensors["x"].tolist(), rel=1e-6)


@pytest.mark.parametrize("weight", [0.0, -1.0, 1.001, math.nan])
def test_a_weight_beyond_the_greatest_is_refused(weight):
    with pytest.raises(FedbenchError, match="greatest"):
        encoded({"x": torch.zeros(1)}, weight, FixedPoint(2, 1.0))


def test_a_refusal_says_nothing_of_what_an_update_holds_but_its_kind():
    def told(weight, *numbers):
        with pytest.raises(FedbenchError) as refusal:
            encoded({f"layer.{numbers[0]}": torch.tensor(numbers)}, weight, FixedPoint(2, 1.0))
        return str(refusal.value)

    beyond = {told(1.0, 1.0, number) for number in (1.5, -7.0, 1e30)}
    heavier = {told(weight, 0.5, 0.5) for weight in (1.5, 300.0, -1.0)}
    endless = {told(1.0, *numbers) for numbers in ((math.nan, 2.0), (3.0, math.inf))}
    assert len(beyond) == len(heavier) == len(endless) == 1


@pytest.mark.parametrize(
    "arguments", [(2, 0.0), (2, math.inf), (2, math.nan), (0, 1.0), (1024, 1.0), (2, 1.0, 16)]
)
def test_a_scheme_without_meaning_is_refused(arguments):
    with pytest.raises(FedbenchError):
        FixedPoint(*arguments)


def test_a_sum_of_another_length_is_refused():
    with pytest.raises(FedbenchError, match="5 words where 4"):
        decoded(np.zeros(5, np.uint32), {"x": (3,)}, FixedPoint(2, 1.0))
