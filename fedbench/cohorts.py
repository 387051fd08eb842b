"""Who takes part in a round: a pure function of (seed, round), unless it must be a secret."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fedbench.config import RunConfig
from fedbench.streams import Uniform, generator, uniform

Sample = Callable[..., Uniform]  #: numbers of the stream of a name and a key


def draw_cohort(
    config: RunConfig, sites: Sequence[str], round_: int, sample: Sample = uniform
) -> list[str]:
    """The sites of a round, in their order.

    Where the draw is counted as protection of private sites, it is made of ``sample``.
    """
    return _DRAWS[config.sampling](config, sites, round_, sample)


def expected_size(config: RunConfig, sites: Sequence[object]) -> float:
    """How many sites a cohort has on average: known beforehand, whoever is drawn."""
    if config.sampling == "poisson":
        return config.participation * len(sites)
    return max(1, round(config.participation * len(sites)))


def _fixed(config: RunConfig, sites: Sequence[str], round_: int, sample: Sample) -> list[str]:
    """As many in every round, at least one, all sets of them equally likely."""
    size = int(expected_size(config, sites))
    drawn = generator("cohort", config.seed, round_).choice(len(sites), size, replace=False)
    return [sites[i] for i in sorted(drawn)]


def _poisson(config: RunConfig, sites: Sequence[str], round_: int, sample: Sample) -> list[str]:
    """Each site with the same probability, independently; perhaps nobody."""
    drawn_from = sample if config.private("site") else uniform
    chances = drawn_from("cohort", config.seed, round_)(len(sites))
    return [s for s, chance in zip(sites, chances, strict=True) if chance < config.participation]


_DRAWS: Mapping[str, Callable[[RunConfig, Sequence[str], int, Sample], list[str]]] = {
    "fixed": _fixed,
    "poisson": _poisson,
}
