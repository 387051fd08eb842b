"""FedSA-LoRA (Guo et al., arXiv:2410.01463, section 3.2): A is shared, every site keeps its own B.

    A  <-  sum_k n_k A_k / sum n,    B_k stays with site k

Both are trained; the paper finds that A learns what sites have in common. There is no shared model:
each site is scored with its own, and one that never took part has a B of zero, the backbone itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedbench.rules.equal_ranks import NOT_DERIVED, only_equal_ranks
from fedbench.rules.fedavg import broadcast, local, server
from fedbench.rules.lora_halves import downs, only_lora, ups
from fedbench.rules.rule import Claim, Contribution, Message, Rule, State, Work

if TYPE_CHECKING:
    from fedbench.config import RunConfig

CLAIMS: frozenset[Claim] = frozenset({"weighted"})


def fedsa_lora() -> Rule:
    """FedAvg of A alone."""
    refuses = only_equal_ranks(NOT_DERIVED, also=_only_federated_lora)
    return Rule(
        "fedsa-lora", "sum", init, broadcast, local, upload, server, refuses, CLAIMS,
        own=own, keeps=True,
    )  # fmt: skip


def init(adapter: State, config: RunConfig) -> State:
    """The server knows A only."""
    return {name: adapter[name] for name in downs(adapter)}


def own(message: Message, site_state: State, initial: State) -> State:
    """The shared A, and the site's B, which is zero until it has taken part."""
    return {name: initial[name] for name in ups(initial)} | site_state | message.adapter


def upload(
    message: Message, trained: State, site_state: State, work: Work
) -> tuple[Contribution, State]:
    """The difference of A to what was received; B is the site's state."""
    update = {name: trained[name] - received for name, received in message.adapter.items()}
    return Contribution(update, float(work.examples)), {n: trained[n] for n in ups(trained)}


def _only_federated_lora(config: RunConfig) -> str:
    if config.setting in ("base", "federated"):
        return only_lora(config)
    return f"sites keep a part of the adapter, and the setting {config.setting} has a single one"
