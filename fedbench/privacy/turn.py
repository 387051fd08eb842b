"""A site's turn under privacy of its examples: noise, batches, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from torch import nn

from fedbench.config import RunConfig
from fedbench.privacy.accounting import Releases, noise_for
from fedbench.privacy.ledger import debit
from fedbench.privacy.noise import simulated
from fedbench.privacy.per_example import poisson_batches, private
from fedbench.protection import PrivacyConfig
from fedbench.train import Gradient, by_batch

Header = Mapping[str, Any]


def releases(config: RunConfig, privacy: PrivacyConfig, count: int, header: Header) -> Releases:
    """The steps of one turn of a site with ``count`` training examples.

    Each step is a release about a batch that an example is in with probability batch size / count.
    Where epsilon alone is given, the noise is what lets the site take part in all rounds.
    """
    rate = min(1.0, config.batch_size / count)
    steps = max(1, round(count * header["local_passes"] / config.batch_size))
    noise = privacy.noise or noise_for(
        privacy.epsilon or 0.0, privacy.delta, rate, steps * config.rounds, privacy.accountant
    )
    return Releases(noise, rate, steps)


def spend(
    config: RunConfig, count: int, header: Header, site: str, folder: Path
) -> dict[str, float]:
    """Debit a turn from the site's budget, before it begins; nothing without such privacy.

    Raises:
        FedbenchError: the budget is spent.
    """
    privacy = config.private("example")
    if privacy is None:
        return {}
    cost = releases(config, privacy, count, header)
    path, key = folder / site / "privacy.json", f"{header['round']}/{header['seal']}"
    spent = debit(path, key, cost, [site], privacy.delta, privacy.accountant, privacy.epsilon)
    return {"epsilon": spent[site]}


def private_turn(
    config: RunConfig, model: nn.Module, count: int, header: Header, site: str, frozen: Set[str]
) -> tuple[list[list[int]], Gradient]:
    """Poisson batches, and the gradient that is clipped by example and noised."""
    privacy = config.private("example")
    assert privacy is not None
    noise, rate, steps = releases(config, privacy, count, header)
    # The message is part of the key: were two answered under the same noise, it would cancel out.
    key = (config.seed, site, header["round"], header["seal"])
    batches = poisson_batches(count, rate, steps, *key)
    gradient = private(
        by_batch(model, config), privacy.clip, noise, rate * count, simulated(*key), frozen
    )
    return batches, gradient
