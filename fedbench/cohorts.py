"""Who takes part in a round: a pure function of (seed, round)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fedbench.config import RunConfig
from fedbench.streams import generator


def draw_cohort(config: RunConfig, sites: Sequence[str], round_: int) -> list[str]:
    """The sites of a round, in their order."""
    return _DRAWS[config.sampling](config, sites, round_)


def expected_size(config: RunConfig, sites: Sequence[object]) -> float:
    """How many sites a cohort has on average: known beforehand, whoever is drawn."""
    if config.sampling == "poisson":
        return config.participation * len(sites)
    return max(1, round(config.participation * len(sites)))


def _fixed(config: RunConfig, sites: Sequence[str], round_: int) -> list[str]:
    """As many in every round, at least one, all sets of them equally likely."""
    size = int(expected_size(config, sites))
    drawn = generator("cohort", config.seed, round_).choice(len(sites), size, replace=False)
    return [sites[i] for i in sorted(drawn)]


def _poisson(config: RunConfig, sites: Sequence[str], round_: int) -> list[str]:
    """Each site with the same probability, independently; perhaps nobody."""
    chances = generator("cohort", config.seed, round_).random(len(sites))
    return [s for s, chance in zip(sites, chances, strict=True) if chance < config.participation]


_DRAWS: Mapping[str, Callable[[RunConfig, Sequence[str], int], list[str]]] = {
    "fixed": _fixed,
    "poisson": _poisson,
}
