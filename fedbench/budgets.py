"""What a federation may cost: no round begins that would exceed a budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fedbench.cohorts import draw_cohort
from fedbench.config import RunConfig
from fedbench.headers import to_train
from fedbench.privacy.accounting import Releases, epsilon
from fedbench.privacy.turn import releases
from fedbench.reduction import noise_of, rate_of
from fedbench.store import BYTES, MASKED


def within_budget(
    config: RunConfig, sites: Sequence[str], log: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether one more round stays within the budgets of bytes and of privacy."""
    return _affordable(config, log) and _private_enough(config, sites, log)


def spent(record: Mapping[str, Any]) -> int:
    """Bytes of a round, both ways: training, validation, keys and shares."""
    return sum(record.get(f"bytes_{way}", 0) for way in (*BYTES, *MASKED))


def _affordable(config: RunConfig, log: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there are bytes left for a round as dear as the dearest so far."""
    if config.byte_budget is None or not log:
        return True
    return sum(map(spent, log)) + max(map(spent, log)) <= config.byte_budget


def _private_enough(
    config: RunConfig, sites: Sequence[str], log: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether the round leaves every site of its cohort, or its examples, within their budget."""
    privacy = config.privacy
    if privacy is None or privacy.epsilon is None:
        return True
    cohorts = [draw_cohort(config, sites, round_) for round_ in range(len(log) + 1)]
    turns = Counter(site for cohort in cohorts for site in cohort)
    if privacy.unit == "example":
        each = [(releases(config, privacy, to_train(config, sites, log, site)), turns[site])
                for site in cohorts[-1]]  # fmt: skip
        costs = {cost._replace(times=cost.times * of_site) for cost, of_site in each}
    else:
        poisson = config.sampling == "poisson"
        times = len(cohorts) if poisson else max(turns[site] for site in cohorts[-1])
        costs = {Releases(noise_of(config, privacy, sites), rate_of(config), times)}
    found = [epsilon([cost], privacy.delta, privacy.accountant) for cost in costs]
    return max(found, default=0.0) <= privacy.epsilon
