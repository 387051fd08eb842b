"""What a site is told beside tensors, which ranks of them it holds, and what it must answer."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fedbench.cohorts import expected_size
from fedbench.config import RunConfig
from fedbench.models.ranks import narrowed, padded
from fedbench.partition import pace
from fedbench.rules.rule import Message, Rule, State, Work
from fedbench.wire import Schema, schema_of

Record = Mapping[str, Any]  #: of a round
#: in which a site was told tensors, and after which it may have forgotten their schemas: it has
#: heard at most two in each, and remembers four (fedbench/receiving.py)
_ROUNDS = 2


def told(rule: Rule, config: RunConfig, state: State, site: str) -> Message:
    """What the rule tells a site, cut to the ranks that the site holds."""
    message, rank = rule.broadcast(state, site), config.rank_at(site)
    adapter, extra = narrowed(message.adapter, rank), narrowed(message.extra, rank)
    return replace(message, adapter=adapter, extra=extra)


def as_received(rule: Rule, config: RunConfig, state: State, site: str) -> Message:
    """What the site made of it: with zeros where it has fewer ranks than the shared adapter."""
    message = told(rule, config, state, site)
    adapter, extra = padded(message.adapter, config.rank), padded(message.extra, config.rank)
    return replace(message, adapter=adapter, extra=extra)


def update_schemas(
    rule: Rule, config: RunConfig, tell: Callable[[str], Message]
) -> Callable[[str], Schema]:
    """Of which tensors the update of a site must consist: what the rule makes of no training."""
    found: dict[int, Schema] = {}

    def of_site(site: str) -> Schema:
        rank = config.rank_at(site)
        if rank not in found:
            message = tell(site)
            update, _ = rule.upload(message, dict(message.adapter), {}, Work(1, 1, 1.0))
            found[rank] = schema_of(narrowed(update.tensors, rank))
        return found[rank]

    return of_site


def to_train(
    config: RunConfig, sites: Sequence[str], log: Sequence[Record], site: str
) -> dict[str, Any]:
    """To train in the next round.

    ``local_passes`` makes the expected number of passes over each example come out as
    ``config.passes``, own ones included, whatever the cohorts, on average over sites where they
    are not equally fast; ``turn`` counts the site's earlier participations.
    """
    round_, share = len(log), expected_size(config, sites) / len(sites)
    rounds, together = config.rounds, config.passes - config.own_passes
    through = together / config.passes
    speed = pace(sites.index(site), len(sites), config.partition.slowest)
    return {
        "kind": "train",
        "round": round_,
        **_earlier(config, log, site),
        "local_passes": together / (rounds * share) * speed,
        "progress": [round_ / rounds * through, (round_ + 1) / rounds * through],
    }


def to_personalise(config: RunConfig, log: Sequence[Record], site: str) -> dict[str, Any]:
    """To train on alone once all rounds are done, and to keep what comes out."""
    return {
        "kind": "personalise",
        "round": len(log),
        **_earlier(config, log, site),
        "local_passes": config.own_passes,
        "progress": [1 - config.own_passes / config.passes, 1.0],
    }


def to_validate(
    config: RunConfig, log: Sequence[Record], site: str, *, personal: bool = False
) -> dict[str, Any]:
    """To score the shared adapter, or the personal one that the site has kept."""
    told = _earlier(config, log, site)
    del told["turn"]
    return {"kind": "validate", "round": len(log) - 1, "personal": personal, **told}


def _earlier(config: RunConfig, log: Sequence[Record], site: str) -> dict[str, Any]:
    """What the server remembers of a site.

    ``turn`` says how often it took part, ``accepted`` in which round last (-1 for none); ``holds``,
    which version of the shared tensors it was told last, and ``knows``, schemas that it was told
    of late: a site forgets what it has not used for long. What it was told in an exchange in which
    it did not answer does not count.
    """
    turns, holds = [], -1
    knows: list[set[str]] = []
    for record in log:
        used = set[str]()
        trained = _among(record["cohort"], site)
        if trained:
            turns.append(record["round"])
            holds, used = record["round"], {*record["schemas"]}
        judged = config.validated_by == "all" or trained
        if judged and site not in record.get("unheard", ()) and "n_validation" in record:
            holds, used = record["round"] + 1, used.union(record["schemas_validation"])
        knows += [used] if used else []
    return {
        "turn": len(turns),
        "accepted": turns[-1] if turns else -1,
        "holds": holds,
        "knows": sorted(set().union(*knows[-_ROUNDS:])),
    }


def _among(cohort: Sequence[str], site: str) -> bool:
    """Whether a site is one of a cohort, which is in the order of names (:class:`.replies.Heard`).

    Every site of a large cohort is looked for in those of all rounds: by halves, or that would take
    time in the square of its size.
    """
    place = bisect_left(cohort, site)
    return place < len(cohort) and cohort[place] == site
