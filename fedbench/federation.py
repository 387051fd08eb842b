"""The loop: broadcast, local training, upload, aggregation, until the rounds are done.

Every setting runs through here. ``federated`` is one federation of all sites, ``centralized``
one of a single site that holds everything, ``local`` one per site. Nothing is special-cased.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fedbench.aggregating import Answered, aggregated
from fedbench.asking import asked_to_train
from fedbench.budgets import within_budget
from fedbench.cohorts import draw_cohort
from fedbench.config import RunConfig
from fedbench.engines import Engine
from fedbench.headers import Record, to_train, to_validate, told, update_schemas
from fedbench.log_file import Mark, appended, as_mark, read_log
from fedbench.messages import NOTHING, Held, Messages
from fedbench.personal import personalised
from fedbench.phases import phase
from fedbench.privacy.chance import SIMULATED, Chance
from fedbench.privacy.ledger import BudgetSpent
from fedbench.replies import heard, in_tensors, spool
from fedbench.round_log import check_that_any_was_accepted, training_record, validation_record
from fedbench.rules import is_personal, rule_of
from fedbench.rules.rule import State
from fedbench.secure_round import agree
from fedbench.snapshots import damaged, joined, keep, kept, parts

Log = list[dict[str, Any]]
_CHECKPOINT, _LOG = "checkpoint", "log.jsonl"  #: of the last complete round, and of all of them


@dataclass(frozen=True)
class Federated:
    """What a federation ends with."""

    adapter: State  #: what sites share of it
    log: Log  #: one record per round
    delta: State  #: what was added to the backbone's weights; empty under most rules


def federate(
    config: RunConfig,
    engine: Engine,
    sites: Sequence[str],
    initial: State,
    folder: Path,
    report: Callable[[Record], None] = lambda record: None,
    chance: Chance = SIMULATED,
) -> Federated:
    """Run all rounds, going on from the last checkpoint in ``folder`` if there is one.

    Args:
        config: rule, rounds, participation, ranks, validated_by, codecs, byte_budget, policy and
            seed are read here; sites read the rest.
        engine: how payloads travel.
        sites: who may take part; cohorts are drawn from them.
        initial: the freshly initialised adapter.
        folder: of this federation alone: its checkpoint and the round's spooled replies.
        report: told the record of every round once it is done.
        chance: where noise and cohorts of private sites come from.

    Raises:
        Replaceable: a file that was kept on the way is damaged.
    """
    rule = rule_of(config.rule)
    state, log, held, mark = _resume(folder, rule.init(initial, config))
    while (round_ := len(log)) < config.rounds and within_budget(config, sites, log):
        tell = partial(told, rule, config, state)
        cohort = draw_cohort(config, sites, round_, chance.sample)
        expected = update_schemas(rule, config, tell)
        agreed = agree(engine, config, cohort, round_, folder, expected)
        headers = {s: to_train(config, sites, log, s) | agreed.told(s) for s in agreed.sites}
        messages = Messages(headers, tell, config, round_, held)
        form = agreed.form or in_tensors(config, expected)
        read = partial(spool, asked=messages, form=form, folder=folder)
        sent, troubles = asked_to_train(engine, config, round_, messages, read)
        record = training_record(round_, messages, sent, agreed.refused) | agreed.traffic
        record |= troubles
        answered = Answered(round_, cohort, agreed, sent, expected)
        try:
            with phase("aggregate"):
                state, outcome = aggregated(
                    config, engine, rule, state, answered, sites, folder, chance
                )
        except BudgetSpent:
            break  # on earlier attempts at this round, in which noise or those heard were others
        record |= outcome
        judges = sites if config.validated_by == "all" else cohort
        calls = {site: to_validate(config, [*log, record], site) for site in judges}
        tell = partial(told, rule, config, state)
        asked = Messages(calls, tell, config, round_ + 1, messages.held)
        found = heard(engine.exchange(asked, None), asked, "score")
        log.append(record | validation_record(asked, found))
        held = asked.held
        mark = appended(folder / _LOG, mark, log[-1])
        keep(folder / _CHECKPOINT, {"log": mark, "version": held.version},
             joined(state=state, held=held.tensors or {}))  # fmt: skip
        report(log[-1])

    check_that_any_was_accepted(config, log)
    tell = partial(told, rule, config, state)
    if is_personal(config):
        log.append(personalised(config, engine, sites, tell, log, held))
    last = rule.broadcast(state, sites[0])
    return Federated(last.adapter, log, last.delta)


def _resume(folder: Path, fresh: State) -> tuple[State, Log, Held, Mark]:
    """State, log, what sites hold, and where the log ends, of the last complete round."""
    path = folder / _CHECKPOINT
    if not path.exists():
        return fresh, [], NOTHING, Mark()
    header, tensors = kept(path)
    states, version, mark = parts(tensors), header.get("version"), as_mark(header.get("log"))
    if type(version) is not int or "state" not in states or mark is None:
        raise damaged(path)
    return states["state"], read_log(folder / _LOG, mark), Held(version, states.get("held")), mark
