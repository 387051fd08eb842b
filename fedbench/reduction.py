"""From a cohort's contributions to what the server of a rule is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from torch import Tensor

from fedbench.cohorts import draw_cohort, expected_size
from fedbench.config import RunConfig
from fedbench.hashing import sha256_json, short
from fedbench.privacy.accounting import Releases, noise_for
from fedbench.privacy.central import private_sum
from fedbench.privacy.ledger import LEDGER, debit
from fedbench.privacy.noise import Source
from fedbench.protection import PrivacyConfig
from fedbench.rules.rule import Contribution, Reduced, Rule
from fedbench.wire import Schema


def reduced(
    rule: Rule, config: RunConfig, contributions: Iterator[Contribution], source: Source,
    sites: Sequence[str], schema: Schema,
) -> Reduced | Iterator[Contribution]:  # fmt: skip
    """Every contribution, their weighted sum, or a private sum, one in memory at a time.

    Args:
        rule: what its server needs.
        config: cohorts and privacy are read here.
        contributions: in the order of sites.
        source: of the noise of a private sum.
        sites: who may take part.
        schema: of which tensors they consist.
    """
    privacy = config.private("site")
    if privacy is not None:
        return private_sum(contributions, schema, *terms_of(config, privacy, sites), source)
    return weighted_sum(contributions) if rule.reduce == "sum" else contributions


def weighted_sum(contributions: Iterator[Contribution]) -> Reduced:
    """Add up weight x tensors, one contribution in memory at a time, in the order of sites.

    In place: a sum made anew for every site would be written, and read, once more.
    """
    total: dict[str, Tensor] = {}
    weight = 0.0
    for contribution in contributions:
        weight += contribution.weight
        for name, tensor in contribution.tensors.items():
            if name in total:
                total[name].add_(tensor, alpha=contribution.weight)
            else:
                total[name] = tensor * contribution.weight
    return Reduced(total, weight)


def release_of(round_: int, heard: Iterable[str]) -> str:
    """A name for what a round releases; another one if other sites were heard.

    A server that is stopped before its checkpoint asks again. Were the same noise added to the sum
    of other sites, the difference of both would tell the sites without any.
    """
    return f"{round_}/{short(sha256_json([*heard]))}"


def spend(
    config: RunConfig,
    sites: Sequence[str],
    cohort: Sequence[str],
    release: str,
    folder: Path,
) -> dict[str, Any]:
    """Debit a round before anything of it is released; for its record, epsilon so far by site.

    In Poisson cohorts every site spends the same in every round, whether it was drawn or not; in
    cohorts of a fixed size, nothing is claimed for the draw, and a site spends when it takes part.
    ``release`` is named after what :func:`release_of` says.

    Raises:
        BudgetSpent: it would exceed the budget of a site.
    """
    privacy = config.private("site")
    if privacy is None:
        return {}
    cost = Releases(noise_of(config, privacy, sites), rate_of(config), 1)
    about = sites if config.sampling == "poisson" else cohort
    path = folder / LEDGER
    spent = debit(path, release, cost, about, privacy.delta, privacy.accountant, privacy.epsilon)
    return {"epsilon": spent}


def terms_of(
    config: RunConfig, privacy: PrivacyConfig, sites: Sequence[str]
) -> tuple[float, float, float]:
    """Of a private sum: clip, noise and denominator."""
    return privacy.clip, noise_of(config, privacy, sites), expected_size(config, sites)


def noise_of(config: RunConfig, privacy: PrivacyConfig, sites: Sequence[str]) -> float:
    """Noise of a round in units of ``clip``; where only epsilon is given, what all rounds need."""
    if privacy.noise is not None:
        return privacy.noise
    assert privacy.epsilon is not None
    rounds = _most_rounds(config, sites)
    return noise_for(privacy.epsilon, privacy.delta, rate_of(config), rounds, privacy.accountant)


def rate_of(config: RunConfig) -> float:
    """Probability with which a site takes part, as far as it counts for its privacy."""
    return config.participation if config.sampling == "poisson" else 1.0


def _most_rounds(config: RunConfig, sites: Sequence[str]) -> int:
    """Rounds that any site spends on: all, or those that it is drawn for."""
    if config.sampling == "poisson" or config.participation == 1:
        return config.rounds
    cohorts = [draw_cohort(config, sites, round_) for round_ in range(config.rounds)]
    return max(Counter(chain.from_iterable(cohorts)).values())
