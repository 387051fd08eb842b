"""What befalls whom in which attempt of which round: a pure function of the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from fedbench.config import RunConfig
from fedbench.faults import faults_of
from fedbench.faults.fault import UNHARMED, Strike
from fedbench.streams import generator


def strike(config: RunConfig, round_: int, site: str, attempt: int) -> Strike:
    """All that befalls a site when it is asked for the ``attempt``-th time in a round, from 0."""
    found = UNHARMED
    for kind, fault in faults_of(config.faults).items():
        random = generator("faults", config.seed, round_, site, attempt, kind)
        if random.random() < fault.rate:
            found = replace(fault.strikes(found, random), kinds=(*found.kinds, kind))
    return found


def seconds_waited(struck: Strike, deadline: float | None) -> float:
    """How long a server waits for a site, in simulated seconds."""
    if struck.lost:
        return deadline or 0.0
    late = struck.seconds if struck.speaks else 0.0
    return late if deadline is None else min(late, deadline)


def happened(config: RunConfig, round_: int, asked: Sequence[Iterable[str]]) -> dict[str, Any]:
    """What a round's record says of faults; nothing where none happened.

    ``faults`` has, by site, what befell each of its attempts, and ``waited`` the simulated seconds
    that the server waited for the slowest site of each.

    Args:
        config: seed, faults and policy are read here.
        round_: from 0.
        asked: by attempt, who was asked.
    """
    kinds: dict[str, list[str]] = {}
    waited = 0.0
    for attempt, sites in enumerate(asked):
        struck = {site: strike(config, round_, site, attempt) for site in sites}
        for site, one in struck.items():
            kinds.setdefault(site, []).append("+".join(one.kinds))
        each = (seconds_waited(one, config.policy.deadline) for one in struck.values())
        waited += max(each, default=0.0)
    told = {site: of_site for site, of_site in sorted(kinds.items()) if any(of_site)}
    return {
        **({"faults": told} if told else {}),
        **({"waited": waited} if waited else {}),
    }
