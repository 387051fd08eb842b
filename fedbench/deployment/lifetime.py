"""The epsilon of a site's data in their whole life: over runs, federations and years.

Every private turn is written into a ledger in a folder of the site before it begins, whichever run
asked for it, and all of them are composed. Nothing in a configuration has a say in it: bound and
delta are those of the site's policy, and the accountant is ``rdp``, whose bound holds for whatever
is composed with whatever, and is somewhat above what a run tells of itself under ``prv``.

All of the folder is one unit: two data sets share examples more often than anybody can tell, and
one that an example was added to is no other data set. A site with data that have nothing in common
keeps a folder for each. Which data a turn was about is in the key of its entry.

What this does not count: turns without privacy of examples, which have no epsilon and which a
policy with one refuses; validation scores; and what is published in other ways. Whoever removes
the ledger has forgotten what was spent: keep it, and a copy of it, as long as the data.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedbench.cohorts import expected_size
from fedbench.config import RunConfig
from fedbench.deployment.policy import SitePolicy
from fedbench.errors import FedbenchError
from fedbench.hashing import short
from fedbench.locks import locked
from fedbench.privacy.accounting import Accountant, Releases, epsilon
from fedbench.privacy.ledger import BudgetSpent, debit, made, total
from fedbench.privacy.turn import releases
from fedbench.protection import PrivacyConfig
from fedbench.receiving import check

LEDGER = "life.json"  #: in the folder that a site keeps as long as its data
_UNIT = "data"
_ACCOUNTANT: Accountant = "rdp"


def spend_of_life(
    folder: Path, policy: SitePolicy, config: RunConfig, header: Mapping[str, Any], data: str
) -> float:
    """Write down a turn that is about to begin; return the epsilon of the data with it.

    Every call is a release of its own, also for a message that came before: at a real site noise
    is another each time, so that a turn done twice tells twice. Whoever sends again the very bytes
    that were sent does not call it.

    Args:
        folder: of the site, the same for all its runs.
        policy: of the site.
        config: of the run, resolved.
        header: of the message to train, as it came.
        data: SHA-256 of the training examples.

    Raises:
        BudgetSpent: the turn would exceed the policy's epsilon. Nothing was written.
        BadPayload: the message is none that a site answers.
        FedbenchError: the run has no privacy of examples, or the ledger cannot be written.
        Damaged: the ledger is.
    """
    check(header, config)
    cost = releases(config, _private(config), header) if header["local_passes"] else None
    path = folder / LEDGER
    with locked(folder / f"{LEDGER}.lock"):
        if cost is None:  # without a pass over the examples nothing of them is told
            return total(path, _UNIT, policy.delta, _ACCOUNTANT)
        turn = f"{_keys_of(config)}{header['round']}/{short(data)}/{secrets.token_hex(8)}"
        rest = (policy.delta, _ACCOUNTANT, policy.epsilon)
        try:
            return debit(path, turn, cost, [_UNIT], *rest)[_UNIT]
        except BudgetSpent:
            now, after = (total(path, _UNIT, *rest[:2], more) for more in ((), (cost,)))
            raise BudgetSpent(
                f"The data of this site have spent their budget: this turn would bring their "
                f"epsilon from {now:.3f} to {after:.3f} at delta {policy.delta:g}, and the site's "
                f"policy allows {policy.epsilon:g} in their whole life. Nothing was sent; more "
                "takes a larger epsilon in the policy, which promises less."
            ) from None


def spent_of_life(folder: Path, policy: SitePolicy) -> float | None:
    """The epsilon of the data so far; None if nothing was ever written down here.

    Raises:
        Damaged: the ledger is.
    """
    path = folder / LEDGER
    return total(path, _UNIT, policy.delta, _ACCOUNTANT) if path.exists() else None


def foreseen(folder: Path, policy: SitePolicy, config: RunConfig, sites: int) -> float | None:
    """The epsilon of the data once a run is done, if it draws this site in every round.

    None for a run without privacy of examples, which has none. What the run has spent already is
    part of it: a site is asked again whenever it or its server was stopped. It may be more than the
    whole run, as a turn done twice costs twice.

    Args:
        folder: of the site.
        policy: of the site.
        config: of the run, resolved.
        sites: in the federation.

    Raises:
        Damaged: the ledger is.
    """
    if config.private("example") is None:
        return None
    turn = usual_turn(config, sites)
    whole = turn._replace(times=turn.times * config.rounds)
    path, own = folder / LEDGER, _keys_of(config)
    so_far = made(path, _UNIT, lambda key: key.startswith(own))
    others = made(path, _UNIT, lambda key: not key.startswith(own))
    return max(epsilon([*others, *run], policy.delta, _ACCOUNTANT) for run in ([whole], so_far))


def usual_turn(config: RunConfig, sites: int) -> Releases:
    """What a site that is drawn releases in a round of a run whose examples are private."""
    share = expected_size(config, range(sites)) / sites
    return releases(
        config, _private(config), {"local_passes": config.passes / (config.rounds * share)}
    )


def _keys_of(config: RunConfig) -> str:
    """What the keys of a run's entries begin with."""
    return f"{config.id}/"


def _private(config: RunConfig) -> PrivacyConfig:
    privacy = config.private("example")
    if privacy is None:
        raise FedbenchError(
            "A run without privacy of examples has no epsilon that could be counted: refuse it, or "
            "leave epsilon out of the policy and count nothing."
        )
    return privacy
