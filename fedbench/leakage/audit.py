"""The audit: many shadow sites, each defence applied to what they send, attacks on what is left.

The audited site trains once, from an adapter that the server knows, and the server looks at what
it receives: what leaks in one round. Everything is repeated in shadow sites that flip their own
coins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from torch import nn

from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.leakage import measures
from fedbench.leakage.canaries import Guesses, guesses, thresholds
from fedbench.leakage.defences import Defence, GradientOf, mean
from fedbench.leakage.measures import Check, Counts, Rate, auc, counts_at, tpr_at
from fedbench.leakage.membership import by_likelihood_ratio, by_loss, by_surprise, coin_flips
from fedbench.leakage.shadows import (
    Draws,
    Observed,
    draw,
    held,
    losses_of,
    observe,
    site_update,
)
from fedbench.leakage.subjects import Subjects, subjects, write_task
from fedbench.models.attached import attached
from fedbench.models.tensors import Tensors, trained_tensors
from fedbench.prepare import prepare
from fedbench.resolving import resolve
from fedbench.seeding import single_thread
from fedbench.streams import generator

_VARIANTS = 4  #: trainings of every other site of a cohort, each with coin flips of its own
#: Rough seconds, which only the time left is told by.
_TRAINING, _ONE_BY_ONE, _LOOK = 2.0, 6.0, 1.0
#: Told after each training and each look of an attack, with its rough seconds.
Tick = Callable[[float], object]


@dataclass(frozen=True)
class Plan:
    """Size of an audit."""

    config: RunConfig  #: resolved; task, backbone, method and everything about training
    shadows: int = 24
    pool: int = 64  #: examples whose membership is flipped
    canaries: int = 32
    sites: int = 4  #: in a cohort, where a defence shows no single update
    delta: float = 1e-5  #: of bounds on epsilon, where a defence claims none
    confidence: float = measures.CONFIDENCE

    @property
    def expected(self) -> float:
        """Examples of a site on average: a coin is flipped for each of them."""
        return (self.pool + self.canaries) / 2


@dataclass(frozen=True)
class Finding:
    """What attacks achieve against one defence."""

    defence: str
    method: str
    shadows: int
    loss_before: float  #: mean loss of the pool in nats, under the adapter that the server had sent
    loss_inside: float  #: the same of members after training, to see what the adapters have learnt
    loss_outside: float  #: the same of examples that were not trained on
    auc_loss: float  #: of attacks by loss
    tpr_loss: Rate  #: at 1 % FPR
    auc_surprise: float  #: of attacks by likelihood under models without the example
    tpr_surprise: Rate  #: at 1 % FPR
    auc_ratio: float  #: of attacks by likelihood ratio
    tpr_ratio: Rate  #: at 1 % FPR
    exposure_inserted: float  #: mean, in bits
    exposure_other: float  #: mean of canaries that were not inserted; by chance about 1.4
    exposure_most: float  #: log2 of the number of candidates
    counts: tuple[Counts, ...]  #: of canaries' exposures, at each of :func:`thresholds`
    guesses: Guesses  #: about canaries
    delta: float  #: that the bounds on epsilon hold for
    epsilon: float  #: proven from canaries as independent trials (Clopper-Pearson, Bonferroni)
    epsilon_guesses: float  #: proven from guesses, whatever their dependence
    check: Check | None  #: whether what was seen can come from the epsilon that was claimed
    seconds: float  #: of attacks, and of training where this defence came first with its gradient

    def to_json(self) -> dict[str, Any]:
        """As a plain value."""
        return asdict(self)


def standard_plan(method: str = "lora", seed: int = 0, **changes: Any) -> Plan:
    """An overfitted site: about 48 invented facts, each seen 20 times, on a built-in backbone.

    ``changes`` are fields of :class:`Plan`.
    """
    rates = {"lora": 3e-3, "ia3": 3e-2, "full": 3e-4}
    config = RunConfig(
        task=str(write_task()),
        setting="centralized",
        method=method,
        seed=seed,
        passes=20,
        batch_size=16,
        learning_rate=rates[method],
        max_tokens=96,
        generated=0,
    )
    return Plan(resolve(config), **changes)


def rough_seconds(plan: Plan, defences: Sequence[Defence]) -> float:
    """About how long :func:`audit` takes, as its ticks add up."""
    return sum(
        _rough_group(plan, list(group)) for _, group in groupby(defences, lambda d: d.gradient)
    )


def _rough_group(plan: Plan, group: Sequence[Defence]) -> float:
    """The same of defences that share their trainings."""
    others = _VARIANTS * (plan.sites - 1) if any(d.hidden_in_mean for d in group) else 0
    trainings = (plan.shadows + others) * _rough_training(group[0].sampled)
    return trainings + len(group) * plan.shadows * _LOOK


def _rough_training(sampled: tuple[float, int] | None) -> float:
    return _TRAINING if sampled is None else _ONE_BY_ONE


def audit(
    plan: Plan, defences: Sequence[Defence], tick: Tick = lambda seconds: None
) -> Iterator[Finding]:
    """Attack each defence in turn, and say what was found.

    Shadow sites train once for all defences that stand in a row with the same gradient.

    Raises:
        FedbenchError: the task has too few examples, or the configuration cannot be used.
    """
    if plan.shadows < 2:
        raise FedbenchError(
            f"An audit with {plan.shadows} shadow sites compares nothing: take two or more."
        )
    prepared = prepare(plan.config)
    who = subjects(prepared, plan.pool, plan.canaries, plan.sites)
    draws = draw(who, plan.shadows, plan.config.seed)
    with single_thread(), attached(plan.config) as model:
        world = _World(plan, model, trained_tensors(model), who, draws, tick)
        before = float(losses_of(model, who).mean())
        sent: _Sent | None = None
        for defence in defences:
            started = time.perf_counter()
            if sent is None or sent.gradient is not defence.gradient:
                sent = _Sent(world, defence.gradient, defence.sampled)
            seen = observe(model, world.initial, sent.seen(defence), who, draws.answers)
            seconds = time.perf_counter() - started
            yield finding(plan, defence, who.candidates, draws, seen, before, seconds)


def finding(
    plan: Plan,
    defence: Defence,
    candidates: int,
    draws: Draws,
    seen: Observed,
    before: float,
    seconds: float,
) -> Finding:
    """Measure the attacks on what was seen, which took so many ``seconds`` to come by.

    ``before`` is the pool's mean loss under the adapter that shadow sites start from.
    """
    inside = draws.members
    loss, ratio = by_loss(seen.losses), by_likelihood_ratio(seen.losses, inside)
    surprise = by_surprise(seen.losses, inside)
    exposed = seen.exposures
    canaries = (exposed[draws.inserted], exposed[~draws.inserted])
    told = guesses(exposed, draws.inserted, candidates)
    epsilon, delta = defence.claimed or (0.0, plan.delta)
    levels = thresholds(candidates)
    counts = tuple(counts_at(*canaries, level) for level in levels)
    check = measures.check_counts(counts, levels, epsilon, delta, plan.confidence)
    return Finding(
        defence=defence.name,
        method=plan.config.method,
        shadows=plan.shadows,
        loss_before=before,
        loss_inside=float(seen.losses[inside].mean()),
        loss_outside=float(seen.losses[~inside].mean()),
        auc_loss=auc(loss[inside], loss[~inside]),
        tpr_loss=tpr_at(loss[inside], loss[~inside]),
        auc_surprise=auc(surprise[inside], surprise[~inside]),
        tpr_surprise=tpr_at(surprise[inside], surprise[~inside]),
        auc_ratio=auc(ratio[inside], ratio[~inside]),
        tpr_ratio=tpr_at(ratio[inside], ratio[~inside]),
        exposure_inserted=float(canaries[0].mean()),
        exposure_other=float(canaries[1].mean()),
        exposure_most=float(np.log2(candidates)),
        counts=counts,
        guesses=told,
        delta=delta,
        epsilon=check.proven,
        epsilon_guesses=measures.epsilon_of_guesses(
            told.right, told.made, told.trials, delta, plan.confidence
        ),
        check=check if defence.claimed else None,
        seconds=seconds,
    )


@dataclass(frozen=True)
class _World:
    """What all defences have in common."""

    plan: Plan
    model: nn.Module
    initial: Tensors
    who: Subjects
    draws: Draws
    tick: Tick


@dataclass(frozen=True)
class _Sent:
    """What shadow sites, and the others of their cohorts, send under one kind of gradient."""

    world: _World
    gradient: GradientOf
    sampled: tuple[float, int] | None

    def seen(self, defence: Defence) -> Callable[[int], Tensors]:
        """What the server sees of a shadow site under ``defence``, by the shadow's number."""

        def update(shadow: int) -> Tensors:
            self.world.tick(_LOOK)
            cohort = self._cohort(shadow) if defence.hidden_in_mean else []
            return mean([defence.sent(shadow)(one) for one in (self.own[shadow], *cohort)])

        return update

    @cached_property
    def own(self) -> list[Tensors]:
        """Updates of the audited site, by shadow."""
        world = self.world
        return [
            self._trained(held(world.who, world.draws, shadow), "audited", shadow)
            for shadow in range(world.plan.shadows)
        ]

    @cached_property
    def others(self) -> list[list[Tensors]]:
        """Updates of every other site of a cohort, in several variants."""
        seed = self.world.plan.config.seed
        found = []
        for site, examples in enumerate(self.world.who.others):
            coins = coin_flips(_VARIANTS, len(examples), seed, f"other-{site}")
            mine = [[examples[i] for i in np.flatnonzero(row)] for row in coins]
            found.append([self._trained(m, f"other-{site}", v) for v, m in enumerate(mine)])
        return found

    def _cohort(self, shadow: int) -> list[Tensors]:
        """One variant of every other site, drawn for each shadow anew."""
        random = generator("cohort", self.world.plan.config.seed, "leakage", shadow)
        return [variants[random.integers(_VARIANTS)] for variants in self.others]

    def _trained(self, sequences: Sequence[Any], site: str, shadow: int) -> Tensors:
        world = self.world
        world.tick(_rough_training(self.sampled))
        gradient = self.gradient(site, shadow)
        return site_update(
            world.model,
            world.initial,
            sequences,
            world.plan.config,
            gradient,
            self.sampled,
            site,
            shadow,
        )
