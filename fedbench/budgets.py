"""What a federation may cost: no round begins that would exceed a budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from fedbench.cohorts import draw_cohort
from fedbench.config import RunConfig
from fedbench.privacy.accounting import Releases, epsilon
from fedbench.reduction import noise_of, rate_of
from fedbench.store import BYTES, MASKED


def within_budget(
    config: RunConfig, sites: Sequence[str], log: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether one more round stays within the budgets of bytes and of privacy."""
    return _affordable(config, log) and _private_enough(config, sites, len(log))


def spent(record: Mapping[str, Any]) -> int:
    """Bytes of a round, both ways: training, validation, keys and shares."""
    return sum(record.get(f"bytes_{way}", 0) for way in (*BYTES, *MASKED))


def _affordable(config: RunConfig, log: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there are bytes left for a round as dear as the dearest so far."""
    if config.byte_budget is None or not log:
        return True
    return sum(map(spent, log)) + max(map(spent, log)) <= config.byte_budget


def _private_enough(config: RunConfig, sites: Sequence[str], round_: int) -> bool:
    """Whether the round leaves every site of its cohort within its budget."""
    privacy = config.private("site")
    if privacy is None or privacy.epsilon is None:
        return True
    if config.sampling == "poisson":
        times = round_ + 1
    else:
        cohorts = [draw_cohort(config, sites, earlier) for earlier in range(round_ + 1)]
        drawn = Counter(chain.from_iterable(cohorts))
        times = max(drawn[site] for site in cohorts[-1])
    cost = Releases(noise_of(config, privacy, sites), rate_of(config), times)
    return epsilon([cost], privacy.delta, privacy.accountant) <= privacy.epsilon
