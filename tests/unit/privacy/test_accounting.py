"""Epsilon is opacus's, held against published values and the closed form of one release."""

from __future__ import annotations

import math

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from fedbench.errors import FedbenchError
from fedbench.privacy.accounting import Releases, epsilon, noise_for
from fedbench.protection import PrivacyConfig


@pytest.mark.parametrize(("accountant", "expected"), [("rdp", 6.614), ("prv", 5.923)])
def test_epsilon_is_that_of_opacus_at_the_reference_point(accountant, expected):
    """dp-accounting says 6.621 by RDP and 5.913 by PLD at the same point."""
    found = epsilon([Releases(1.1, 0.1, 100)], 1e-5, accountant)
    assert found == pytest.approx(expected, abs=0.001)
    assert found == pytest.approx({"rdp": 6.621, "prv": 5.913}[accountant], abs=0.02)


def analytic(noise, delta):
    """Epsilon of one Gaussian release (Balle and Wang, arXiv:1805.06530, theorem 8)."""

    def excess(eps):
        a, b = 1 / (2 * noise), eps * noise
        return norm.cdf(a - b) - math.exp(eps) * norm.cdf(-a - b) - delta

    return brentq(excess, 0, 100)


@pytest.mark.parametrize("noise", [0.8, 2.0, 5.0])
def test_one_release_without_sampling_has_the_epsilon_of_the_closed_form(noise):
    exact = analytic(noise, 1e-5)
    assert epsilon([Releases(noise, 1.0, 1)], 1e-5, "prv") == pytest.approx(exact, rel=0.02)
    assert epsilon([Releases(noise, 1.0, 1)], 1e-5, "rdp") >= exact


@pytest.mark.parametrize("count", [4, 25])
def test_releases_without_sampling_are_as_one_with_less_noise(count):
    many = epsilon([Releases(3.0 * count**0.5, 1.0, count)], 1e-5, "prv")
    assert many == pytest.approx(analytic(3.0, 1e-5), rel=0.03)


def test_more_noise_costs_less_and_more_releases_or_a_larger_rate_cost_more():
    usual = epsilon([Releases(1.0, 0.1, 50)], 1e-5, "prv")
    assert epsilon([Releases(1.5, 0.1, 50)], 1e-5, "prv") < usual
    assert epsilon([Releases(1.0, 0.1, 60)], 1e-5, "prv") > usual
    assert epsilon([Releases(1.0, 0.2, 50)], 1e-5, "prv") > usual
    assert epsilon([Releases(1.0, 0.1, 50)], 1e-3, "prv") < usual


def test_nothing_released_costs_nothing():
    assert epsilon([], 1e-5, "prv") == 0
    assert epsilon([Releases(1.0, 0.1, 0)], 1e-5, "prv") == 0


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
def test_epsilon_is_never_below_zero_however_large_delta_is(accountant):
    assert epsilon([Releases(50.0, 1.0, 1)], 0.5, accountant) == 0


def test_a_delta_that_would_let_an_example_be_shown_whole_is_refused():
    told = {"unit": "example", "clip": 1, "epsilon": 8, "examples": 16}
    assert PrivacyConfig(**told, delta=0.06).delta == 0.06
    with pytest.raises(ValueError, match="take less than 1/16"):
        PrivacyConfig(**told, delta=0.0625)


def test_hardly_any_noise_has_a_huge_epsilon_and_no_crash():
    assert epsilon([Releases(1e-6, 1.0, 3)], 1e-5, "prv") > 1e9


def test_noise_for_a_target_is_that_of_opacus_and_stays_within_it():
    found = noise_for(8.0, 1e-5, 0.1, 100, "rdp")
    assert found == pytest.approx(0.9937, abs=0.001)
    for accountant, rate in (("rdp", 0.1), ("prv", 0.1), ("prv", 1.0)):
        noise = noise_for(3.0, 1e-5, rate, 40, accountant)
        spent = epsilon([Releases(noise, rate, 40)], 1e-5, accountant)
        assert 2.9 < spent <= 3.0


def test_a_target_that_no_noise_reaches_says_what_to_change():
    reason = r"privacy.epsilon = 1e-09 cannot be told to be reached in 10.*accountant prv"
    with pytest.raises(FedbenchError, match=reason):
        noise_for(1e-9, 1e-5, 1.0, 10**6, "rdp")
