"""The loop: broadcast, local training, upload, aggregation, until the rounds are done.

Every setting runs through here. ``federated`` is one federation of all sites, ``centralized``
one of a single site that holds everything, ``local`` one per site. Nothing is special-cased.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from fedbench.config import RunConfig
from fedbench.engines import Engine
from fedbench.errors import FedbenchError
from fedbench.files import write_bytes
from fedbench.messages import Messages
from fedbench.phases import phase
from fedbench.replies import contributions, scores, spool
from fedbench.round_log import training_record, validation_record
from fedbench.rules import rule_of
from fedbench.rules.rule import Contribution, Reduced, State
from fedbench.streams import generator
from fedbench.wire import BadPayload, decode, encode

Log = list[dict[str, Any]]


@dataclass(frozen=True)
class Federated:
    """What a federation ends with."""

    adapter: State
    log: Log  #: one record per round


def federate(
    config: RunConfig,
    engine: Engine,
    sites: Sequence[str],
    initial: State,
    folder: Path,
    report: Callable[[float], None] = lambda share: None,
) -> Federated:
    """Run all rounds, going on from the last checkpoint in ``folder`` if there is one.

    Args:
        config: rule, rounds, participation, validated_by, codec and seed are read here; sites
            read the rest.
        engine: how payloads travel.
        sites: who may take part; cohorts are drawn from them.
        initial: the freshly initialised adapter.
        folder: of this federation alone: its checkpoint and the round's spooled replies.
        report: told the share of rounds done.
    """
    rule = rule_of(config.rule)
    state, log = _resume(folder, rule.init(initial, config))
    for round_ in range(len(log), config.rounds):
        cohort = draw_cohort(config, sites, round_)
        headers = {site: _header(config, sites, log, round_, site) for site in cohort}
        messages = Messages(headers, partial(rule.broadcast, state), config.codec)
        replies = spool(engine.exchange(messages, None), folder, round_)
        record = training_record(round_, messages.n_bytes, replies)
        with phase("aggregate"):
            if rule.reduce == "sum":
                state = rule.server(state, weighted_sum(contributions(replies)))
            else:
                state = rule.server(state, contributions(replies))
        judges = sites if config.validated_by == "all" else cohort
        calls = {site: {"kind": "validate"} for site in judges}
        asked = Messages(calls, partial(rule.broadcast, state), config.codec)
        found = scores(engine.exchange(asked, None))
        log.append(record | validation_record(asked.n_bytes, found))
        write_bytes(folder / "checkpoint", encode({"log": log}, state))
        report((round_ + 1) / config.rounds)
    return Federated(rule.broadcast(state, sites[0]).adapter, log)


def draw_cohort(config: RunConfig, sites: Sequence[str], round_: int) -> list[str]:
    """The sites of a round, sorted: a pure function of (seed, round)."""
    size = _cohort_size(config, sites)
    drawn = generator("cohort", config.seed, round_).choice(len(sites), size, replace=False)
    return [sites[i] for i in sorted(drawn)]


def _cohort_size(config: RunConfig, sites: Sequence[str]) -> int:
    return max(1, round(config.participation * len(sites)))


def weighted_sum(contributions: Iterator[Contribution]) -> Reduced:
    """Add up weight x tensors, one contribution in memory at a time, in the order of sites."""
    total: dict[str, Tensor] = {}
    weight = 0.0
    for contribution in contributions:
        weight += contribution.weight
        for name, tensor in contribution.tensors.items():
            share = tensor * contribution.weight
            total[name] = total[name] + share if name in total else share
    return Reduced(total, weight)


def _resume(folder: Path, fresh: State) -> tuple[State, Log]:
    """State and log of the last complete round."""
    path = folder / "checkpoint"
    if not path.exists():
        return fresh, []
    try:
        header, state = decode(path.read_bytes())
    except BadPayload:
        raise FedbenchError(
            f"The checkpoint {path} is damaged: remove it, and this federation starts over; "
            "finished runs are not touched."
        ) from None
    return state, header["log"]


def _header(
    config: RunConfig, sites: Sequence[str], log: Log, round_: int, site: str
) -> dict[str, Any]:
    """What a site must know beside the tensors.

    ``local_passes`` makes the expected number of passes over each example come out as
    ``config.passes`` whatever the cohorts; ``turn`` counts the site's earlier participations.
    """
    earlier = [record["round"] for record in log if site in record["cohort"]]
    share = _cohort_size(config, sites) / len(sites)
    return {
        "kind": "train",
        "round": round_,
        "turn": len(earlier),
        "accepted": earlier[-1] if earlier else -1,
        "local_passes": config.passes / (config.rounds * share),
        "progress": [round_ / config.rounds, (round_ + 1) / config.rounds],
    }
