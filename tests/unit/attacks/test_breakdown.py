"""From which share of hostile sites on a rule ends wherever they want, however far that is.

Honest sites of a toy quadratic are one step away from nearly the same minimum. Hostile ones agree
on a point at a distance; a rule withstands them if a thousand times the distance changes nothing.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedbench.attacks import attack_of
from fedbench.reduction import weighted_sum
from fedbench.rules import rule_of
from fedbench.rules.rule import Contribution
from fedbench.streams import generator

SITES, FAR = 10, 1e3
MINIMUM = torch.tensor([1.0, 0.0], dtype=torch.float64)
#: rules, and how many of ten sites they withstand
WITHSTANDS = {
    "median": 4,
    "trimmed-mean": 2,
    "trimmed-mean:share=0.3": 3,
    "trimmed-mean:share=0.4": 4,
    "krum:hostile=4": 4,
    "geometric-median:iterations=200": 4,
    "norm-clipping": 4,
    "outlier-weighting": 4,
}


def step(minimum):
    """What gradient descent with step 1 on half the squared distance to ``minimum`` learns."""
    return Contribution({"x": minimum.clone()}, 1.0)


def honest(sites, spread=0.1):
    """Steps towards minima that differ by site."""
    drawn = torch.Generator().manual_seed(0)
    noise = torch.randn(sites, 2, generator=drawn, dtype=torch.float64)
    return [step(MINIMUM + spread * one) for one in noise]


def attacked(text, contributions):
    random = generator("attack", 0)
    return [attack_of(text).update(each, random) for each in contributions]


def ends(rule, contributions):
    """Where a rule ends that starts at the origin."""
    rule = rule_of(rule)
    state = rule.init({"x": torch.zeros(2, dtype=torch.float64)}, None)
    each = iter(contributions)
    state = rule.server(state, weighted_sum(each) if rule.reduce == "sum" else each)
    return rule.broadcast(state, "site-00").adapter["x"]


def away(rule, hostile, distance):
    """How far from the minimum a rule ends that ``hostile`` sites pull the other way."""
    pull = f"sign-flip+scaling:factor={distance!r}"
    sent = [*attacked(pull, honest(hostile, spread=0)), *honest(SITES - hostile)]
    return (ends(rule, sent) - MINIMUM).norm().item()


@pytest.mark.parametrize(("rule", "hostile"), WITHSTANDS.items())
def test_a_rule_withstands_as_many_sites_as_it_says_however_far_they_pull(rule, hostile):
    near, far = away(rule, hostile, FAR), away(rule, hostile, FAR * FAR)
    assert near < 1
    assert far == pytest.approx(near, rel=1e-2)


@pytest.mark.parametrize(("rule", "hostile"), [("fedavg", 0), *WITHSTANDS.items()])
def test_one_site_more_takes_a_rule_wherever_it_wants(rule, hostile):
    near, far = away(rule, hostile + 1, FAR), away(rule, hostile + 1, FAR * FAR)
    assert far == pytest.approx(FAR * near, rel=0.05)


@pytest.mark.parametrize("hostile", [1, 2, 3, 4])
@pytest.mark.parametrize("steps", [1, 8])
def test_few_steps_of_weiszfeld_leave_a_share_of_the_pull(hostile, steps):
    """On a line between two points each step multiplies the odds of the far one by p / (1 - p).

    So what is left of a distance R after k steps, from the mean on, is R o / (1 + o) with the odds
    o = (p / (1 - p))^(k + 1): it has no bound, and at 4 of 10 sites and 8 steps it is R / 39.
    """
    pull = 1e9  # so far that no distance is as small as the rule's least one
    sent = [*[step(-pull * MINIMUM)] * hostile, *[step(0 * MINIMUM)] * (SITES - hostile)]
    odds = (hostile / (SITES - hostile)) ** (steps + 1)
    found = ends(f"geometric-median:iterations={steps}", sent)
    torch.testing.assert_close(found, -pull * odds / (1 + odds) * MINIMUM, rtol=1e-6, atol=0)


@given(st.integers(1, 9), st.integers(2, 20))
def test_a_flip_takes_twice_the_share_of_hostile_sites_from_fedavg(hostile, sites):
    hostile = min(hostile, sites)
    alike = [step(MINIMUM)] * sites
    found = ends("fedavg", [*attacked("sign-flip", alike[:hostile]), *alike[hostile:]])
    torch.testing.assert_close(found, (1 - 2 * hostile / sites) * MINIMUM)


@given(st.integers(1, 19), st.integers(2, 20), st.floats(-5, 5))
def test_scaling_by_one_over_the_share_adds_the_target_to_what_others_still_learn(
    hostile, sites, drift
):
    """Bagdasaryan et al., equation 3; replacement is exact where the others have converged."""
    hostile = min(hostile, sites - 1)
    target = torch.tensor([3.0, -2.0], dtype=torch.float64)
    sent = attacked(f"scaling:factor={sites / hostile!r}", [step(target)] * hostile)
    found = ends("fedavg", [*sent, *[step(drift * MINIMUM)] * (sites - hostile)])
    others = (1 - hostile / sites) * drift * MINIMUM
    torch.testing.assert_close(found, target + others)


anything = st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 2), min_size=4, max_size=4).map(
    lambda many: [step(torch.tensor(one, dtype=torch.float64)) for one in many]
)


@pytest.mark.parametrize("rule", ["median", "trimmed-mean:share=0.4"])
@given(sent=anything)
def test_rules_by_number_end_between_honest_numbers_whatever_hostile_sites_send(rule, sent):
    true = torch.stack([each.tensors["x"] for each in honest(SITES - 4)])
    found = ends(rule, [*sent, *honest(SITES - 4)])
    assert (true.min(dim=0).values - 1e-9 <= found).all()
    assert (found <= true.max(dim=0).values + 1e-9).all()


@given(sent=anything)
def test_krum_takes_nothing_further_from_the_honest_than_they_are_from_one_another(sent):
    """Of the n - f - 2 = 4 nearest to a hostile update one is honest, no further than its score.

    The least score is at most that of an honest site among the honest alone.
    """
    true = torch.stack([each.tensors["x"] for each in honest(SITES - 4)])
    between = torch.cdist(true, true).square().sort(dim=1).values[:, 1:5]
    found = ends("krum:hostile=4", [*sent, *honest(SITES - 4)])
    assert (true - found).square().sum(dim=1).min() <= between.sum(dim=1).min() + 1e-9
