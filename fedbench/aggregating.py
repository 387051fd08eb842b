"""From the answers of a round to the server's next state, or the old one if they are of no use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fedbench.config import RunConfig
from fedbench.engines import Engine
from fedbench.headers import as_received
from fedbench.heterogeneity import Spread, watched
from fedbench.privacy.chance import SIMULATED, Chance
from fedbench.privacy.noise import Source
from fedbench.reduction import reduced, release_of, spend
from fedbench.replies import Heard, contributions
from fedbench.rules.rule import Contribution, Reduced, Rule, State, as_sent
from fedbench.secure_round import Agreed, total
from fedbench.wire import Schema

Given = Reduced | Iterator[Contribution] | None


class Answered(NamedTuple):
    """What came of asking a cohort to train."""

    round_: int
    cohort: Sequence[str]  #: who was drawn
    agreed: Agreed
    sent: Heard
    expected: Callable[[str], Schema]  #: of which tensors the update of a site consists


def aggregated(
    config: RunConfig,
    engine: Engine,
    rule: Rule,
    state: State,
    answered: Answered,
    sites: Sequence[str],
    folder: Path,
    chance: Chance = SIMULATED,
) -> tuple[State, dict[str, Any]]:
    """The server's next state, and what a round's record says of how it came about.

    A round with fewer updates than the policy asks for, whose updates cannot be summed, or would
    leave a state that is not finite, is abandoned: the state stays, and nobody counts as having
    taken part. ``chance`` is where the noise of a private sum comes from.

    Raises:
        BudgetSpent: the privacy budget of sites is spent.
    """
    if not (answered.sent.replies or config.private("site")):
        return state, {"update_spread": None}
    if config.private("site") is None and (why := _too_few(config, answered.sent)):
        return state, {"abandoned": why, "cohort": [], "update_spread": None}
    release = chance.release(release_of(answered.round_, answered.sent.replies))
    source = chance.noise(config.seed, release)
    told = spend(config, sites, answered.cohort, release, folder)
    spread = Spread(borrows=rule.reduce == "sum" and rule.moved is as_sent)
    given: Given
    if config.secure is not None:
        given, unmasking = total(engine, config, answered.agreed, answered.sent, sites, source)
        told |= unmasking
    else:
        given = _read(config, rule, state, answered, sites, source, spread)
    after = state if given is None else rule.server(state, given)
    if given is None or not all(torch.isfinite(tensor).all() for tensor in after.values()):
        why = "What the updates make of the shared adapter is not finite, or they have no weight."
        return state, {"abandoned": why} | told | {"cohort": [], "update_spread": None}
    return after, told | {"update_spread": spread.value}


def _too_few(config: RunConfig, sent: Heard) -> str:
    """Why the updates of a round are too few, which are then removed; empty if they are not."""
    if len(sent.replies) >= config.policy.minimum:
        return ""
    for reply in sent.replies.values():
        if reply.path is not None:
            reply.path.unlink()
    return (
        f"The updates of {len(sent.replies)} sites were accepted, and policy.minimum is "
        f"{config.policy.minimum}."
    )


def _read(
    config: RunConfig,
    rule: Rule,
    state: State,
    answered: Answered,
    sites: Sequence[str],
    source: Source,
    spread: Spread,
) -> Given:
    """What the server of a rule is given of updates that it may see; None if they have no weight.

    How far they lie apart is told of no private site: it would be exact.
    """
    replies = answered.sent.replies
    each = contributions(replies, config, answered.expected)
    schema = answered.expected(sites[0])
    if config.private("site") is not None:
        return reduced(rule, config, each, source, sites, schema)
    if not sum(reply.header["weight"] for reply in replies.values()):
        return None
    told = partial(as_received, rule, config, state)
    seen = watched(rule, told, zip(replies, each, strict=True), spread)
    given = reduced(rule, config, seen, source, sites, schema)
    if spread.borrows and isinstance(given, Reduced):
        spread.total = given.total
    return given
