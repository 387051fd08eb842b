"""A site's turn under privacy of its examples: noise, batches, and what they cost."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from torch import nn

from fedbench.config import RunConfig
from fedbench.models.tensors import Tensors
from fedbench.privacy.accounting import Releases, noise_for
from fedbench.privacy.chance import Chance
from fedbench.privacy.ledger import LEDGER, debit
from fedbench.privacy.per_example import poisson_batches, private
from fedbench.protection import PrivacyConfig
from fedbench.train import Gradient, by_batch

Header = Mapping[str, Any]
#: what a site says of its work where nobody is private
WORK = ("steps", "examples", "tokens", "flops", "loss")
#: what a message to train says beside what it asks for: shares sealed anew in every attempt
_OF_MASKS = frozenset({"senders", "shares"})


def keyed(config: RunConfig, header: Header, tensors: Tensors, chance: Chance) -> Header:
    """The header with ``release``: a digest of all that a site is told or keeps for a private turn.

    The same turn, asked for again, is the same release where noise is simulated, because it is the
    same noise; any other turn of the run is not. Examples are no part of it: a run of the same
    configuration on other examples has the same simulated noise, and the two must not both be
    published. Where noise is real, every turn is a release of its own.

    Args:
        config: privacy is read here; without that of examples, nothing is released by them.
        header: of the message; the shares that it may carry are no part of the turn.
        tensors: what the site was told, and its own state.
        chance: where noise comes from.
    """
    if config.private("example") is None:
        return header
    asked = {name: value for name, value in header.items() if name not in _OF_MASKS}
    found = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    for name in sorted(tensors):
        found.update(name.encode() + tensors[name].double().numpy().tobytes())
    return {**header, "release": chance.release(found.hexdigest())}


def told_of_work(config: RunConfig) -> tuple[str, ...]:
    """What a site says of a turn, by the fields of :class:`fedbench.train.TrainReport`.

    Where sites are private, or updates masked, nothing; where examples are, only the number of
    steps, which follows from the configuration. All else depends on examples or their count.
    """
    if config.private("example") is not None:
        return ("steps",)
    return () if config.privacy is not None or config.secure is not None else WORK


def releases(config: RunConfig, privacy: PrivacyConfig, header: Header) -> Releases:
    """The steps of one turn: a function of what all know, whatever a site holds.

    Each step is a release about a batch that an example is in with probability batch size /
    ``privacy.examples``, as nearly as whole steps can process it ``local_passes`` times on average.
    Where epsilon alone is given, the noise is what lets the site take part in all rounds.
    """
    assert privacy.examples is not None
    passes = header["local_passes"]
    # An example is in a batch at most once.
    steps = max(round(privacy.examples * passes / config.batch_size), math.ceil(passes))
    rate = passes / steps
    noise = privacy.noise or noise_for(
        privacy.epsilon or 0.0, privacy.delta, rate, steps * config.rounds, privacy.accountant
    )
    return Releases(noise, rate, steps)


def spend(config: RunConfig, header: Header, site: str, folder: Path) -> dict[str, float]:
    """Debit a turn from the site's budget, before it begins; nothing without such privacy.

    Without a pass over the examples nothing of them is released.

    Raises:
        FedbenchError: the budget is spent.
    """
    privacy = config.private("example")
    if privacy is None or not header["local_passes"]:
        return {}
    cost = releases(config, privacy, header)
    path, key = folder / site / LEDGER, f"{header['round']}/{header['release']}"
    spent = debit(path, key, cost, [site], privacy.delta, privacy.accountant, privacy.epsilon)
    return {"epsilon": spent[site]}


def private_turn(
    config: RunConfig,
    model: nn.Module,
    count: int,
    header: Header,
    site: str,
    frozen: Set[str],
    chance: Chance,
) -> tuple[list[list[int]], Gradient]:
    """Poisson batches of ``count`` examples, and the gradient, clipped by example and noised.

    The gradient is divided by the size of a batch that a site of ``privacy.examples`` has on
    average: a site that holds more counts more, as it does without privacy.
    """
    privacy = config.private("example")
    assert privacy is not None
    assert privacy.examples is not None
    noise, rate, steps = releases(config, privacy, header)
    expected = rate * privacy.examples
    # Were two different turns noised alike, the difference of their updates would be free of it.
    key = (config.seed, site, header["round"], header["release"])
    batches = poisson_batches(count, rate, steps, *key, sample=chance.sample)
    gradient = private(
        by_batch(model, config), privacy.clip, noise, expected, chance.noise(*key), frozen
    )
    return batches, gradient
