"""Rules that mend FedAvg's bias, on sites whose losses are parabolas: where do they end?

Site k has the loss a_k / 2 |w - b_k|^2, so that K steps at rate r take w to
b_k + (1 - r a_k)^K (w - b_k), and the mean loss, weighted by examples n_k, is least at
sum n_k a_k b_k / sum n_k a_k.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch

from fedbench.models.tensors import load_tensors, trained_tensors
from fedbench.partition import pace
from fedbench.reduction import weighted_sum
from fedbench.rules import rule_of
from fedbench.rules.rule import Message, Work
from fedbench.train import Accumulated, LocalObjective, train
from tests import bigram


class Site(NamedTuple):
    curvature: float
    minimum: float
    examples: int = 1
    steps: int = 10


def lowest(sites):
    whole = sum(site.examples * site.curvature for site in sites)
    return sum(s.examples * s.curvature * s.minimum for s in sites) / whole


def fixed_point_of_fedavg(sites, rate):
    """Where the mean of all sites' movements is zero."""
    moved = [s.examples * (1 - (1 - rate * s.curvature) ** s.steps) for s in sites]
    return sum(m * s.minimum for m, s in zip(moved, sites, strict=True)) / sum(moved)


def ends_at(rule, sites, rate, rounds=60, start=0.3, schedule="constant"):
    """Every number of the model after ``rounds``, through the code that trains real models."""
    config = bigram.config(optimizer="sgd", learning_rate=rate, schedule=schedule, warmup=0,
                           gradient_clip=1e9, partition={"sites": len(sites)})  # fmt: skip
    model = bigram.Bigram()
    state = rule.init({n: torch.full_like(t, start) for n, t in trained_tensors(model).items()},
                      config)  # fmt: skip
    at_sites = [{} for _ in sites]
    for _ in range(rounds):
        given = []
        for number, site in enumerate(sites):
            message = rule.broadcast(state, f"site-{number:02d}")
            load_tensors(model, message.adapter)

            def gradient(model, sequences, site=site):
                loss = sum((p - site.minimum).square().sum() for p in model.parameters())
                (site.curvature / 2 * loss).backward()
                return Accumulated(loss.detach(), 0)

            report = train(model, [bigram.sequences((1, 2))] * site.steps, config, (0, 1),
                           rule.local(message, at_sites[number]), gradient)  # fmt: skip
            work = Work(site.examples, report.steps, report.rates)
            one, at_sites[number] = rule.upload(
                message, trained_tensors(model), at_sites[number], work
            )
            given.append(one)
        state = rule.server(state, weighted_sum(iter(given)))
    values = torch.cat([t.flatten() for t in rule.broadcast(state, "site-00").adapter.values()])
    assert values.max() - values.min() < 1e-5
    return values[0].item()


UNLIKE = [Site(curvature=1, minimum=0, examples=3), Site(curvature=4, minimum=1, examples=1)]


def test_fedavg_ends_where_movements_cancel_and_not_where_the_loss_is_least():
    found = ends_at(rule_of("fedavg"), UNLIKE, rate=0.1)
    assert found == pytest.approx(fixed_point_of_fedavg(UNLIKE, 0.1), abs=1e-4)
    assert abs(found - lowest(UNLIKE)) > 0.1


def test_scaffold_ends_where_the_loss_is_least():
    assert ends_at(rule_of("scaffold"), UNLIKE, rate=0.1) == pytest.approx(4 / 7, abs=1e-4)


def test_scaffold_ends_there_under_a_schedule_too():
    found = ends_at(rule_of("scaffold"), UNLIKE, rate=0.1, schedule="cosine")
    assert found == pytest.approx(lowest(UNLIKE), abs=1e-4)


def test_a_control_variate_is_the_mean_gradient_of_the_sites_steps():
    scaffold = rule_of("scaffold")
    message = Message({"w": torch.tensor([5.0])}, {"w": torch.tensor([0.5])})
    own = {"w": torch.tensor([2.0])}
    objective = scaffold.local(message, own)
    assert objective.correction["w"].item() == 0.5 - 2.0
    # Two steps at rate 0.1 along g + c - c_k with g = 4 both times.
    trained = {"w": torch.tensor([5.0 - 2 * 0.1 * (4.0 + 0.5 - 2.0)])}
    given, kept = scaffold.upload(message, trained, own, Work(3, 2, 0.2))
    assert kept["w"].item() == pytest.approx(4.0)
    assert given.tensors["control/w"].item() == pytest.approx(4.0 - 2.0)
    assert given.weight == 3


def test_the_servers_variate_moves_by_the_cohorts_share_of_all_sites():
    scaffold = rule_of("scaffold")
    state = scaffold.init({"w": torch.zeros(1)}, bigram.config(participation=0.25))
    given, _ = scaffold.upload(
        scaffold.broadcast(state, "a"), {"w": torch.tensor([-1.0])}, {}, Work(1, 1, 0.5)
    )
    after = scaffold.server(state, weighted_sum(iter([given])))
    assert scaffold.broadcast(after, "a").extra["w"].item() == pytest.approx(0.25 * 2.0)


def test_a_site_that_did_no_step_keeps_its_variate():
    scaffold = rule_of("scaffold")
    message = Message({"w": torch.tensor([5.0])}, {"w": torch.tensor([0.5])})
    own = {"w": torch.tensor([2.0])}
    given, kept = scaffold.upload(message, message.adapter, own, Work(3, 0, 0.0))
    assert kept == own
    assert given.tensors["control/w"].item() == 0


UNEVEN = [Site(1, minimum=0, steps=2), Site(1, minimum=1, steps=10)]


def test_fednova_does_not_let_sites_rule_that_do_more_steps():
    assert lowest(UNEVEN) == 0.5
    assert fixed_point_of_fedavg(UNEVEN, 1e-3) > 0.8
    assert ends_at(rule_of("fedavg"), UNEVEN, 0.02) > 0.75
    assert ends_at(rule_of("fednova"), UNEVEN, 0.02) == pytest.approx(0.5, abs=0.03)
    # What is left falls with the rate: K steps move by rate x K only in the limit.
    assert abs(ends_at(rule_of("fednova"), UNEVEN, 0.005, rounds=150) - 0.5) < 0.008


def test_fednova_corrects_for_sites_that_are_not_equally_fast():
    """The slowest of five does a fifth of the first one's steps, as ``slowest`` deals them."""
    steps = [round(12 * pace(number, 5, 0.2)) for number in range(5)]
    sites = [Site(1, minimum=n / 4, steps=many) for n, many in enumerate(steps)]
    assert steps == [20, 16, 12, 8, 4]
    assert lowest(sites) == 0.5
    biased = ends_at(rule_of("fedavg"), sites, 0.01)
    assert biased == pytest.approx(fixed_point_of_fedavg(sites, 0.01), abs=1e-3)
    assert biased < 0.35
    assert abs(ends_at(rule_of("fednova"), sites, 0.01) - 0.5) < (0.5 - biased) / 5


def test_fednova_is_fedavg_where_all_do_the_same_steps():
    even = [site._replace(steps=5) for site in UNLIKE]
    assert ends_at(rule_of("fednova"), even, 0.1) == pytest.approx(
        ends_at(rule_of("fedavg"), even, 0.1), abs=1e-5
    )


def test_fednova_weights_by_examples():
    sites = [Site(1, minimum=0, examples=3, steps=2), Site(1, minimum=1, examples=1, steps=10)]
    assert ends_at(rule_of("fednova"), sites, 0.01, rounds=150) == pytest.approx(0.25, abs=0.02)


def test_fedprox_holds_a_site_between_its_minimum_and_what_it_received():
    """After many steps: (a b + mu x) / (a + mu)."""
    only = [Site(curvature=2, minimum=1, steps=400)]
    found = ends_at(rule_of("fedprox:mu=0.5"), only, rate=0.05, rounds=1, start=-1.0)
    assert found == pytest.approx((2 * 1 + 0.5 * -1) / 2.5, abs=1e-4)


def _turned(message, own):
    right = rule_of("scaffold").local(message, own).correction
    return LocalObjective(correction={name: -value for name, value in right.items()})


def _never_corrected(message, own):
    return LocalObjective()


def _stale(message, trained, own, work):
    return rule_of("scaffold").upload(message, trained, own, work)[0], own


def _by_steps(message, trained, own, work):
    return rule_of("scaffold").upload(message, trained, own, replace(work, rates=work.steps))


def _weights_lost(message, trained, own, work):
    return rule_of("fednova").upload(message, trained, own, replace(work, examples=1))


#: by what is wrong: a mutant of a rule, and sites on which the rule itself is right
MUTANTS = {
    "the correction's sign": (replace(rule_of("scaffold"), local=_turned), UNLIKE, 0.1),
    "no correction": (replace(rule_of("scaffold"), local=_never_corrected), UNLIKE, 0.1),
    "sites forget their variate": (replace(rule_of("scaffold"), upload=_stale), UNLIKE, 0.1),
    "rates are taken for one": (replace(rule_of("scaffold"), upload=_by_steps), UNLIKE, 0.1),
    "examples are forgotten": (
        replace(rule_of("fednova"), upload=_weights_lost),
        [Site(1, minimum=0, examples=9, steps=5), Site(1, minimum=1, examples=1, steps=5)], 0.02,
    ),
}  # fmt: skip


@pytest.mark.parametrize("defect", MUTANTS)
def test_a_defect_of_them_is_seen_in_where_training_ends(defect):
    rule, sites, rate = MUTANTS[defect]
    right = ends_at(rule_of(rule.name), sites, rate, rounds=40)
    try:
        found = ends_at(rule, sites, rate, rounds=40)
    except AssertionError:
        return  # it does not end anywhere
    assert not abs(found - right) < 0.02
