"""FLoRA (Wang et al., arXiv:2409.05976, section 3.2): stacked factors move to the backbone.

    W  <-  W + (alpha / r) sum_k p_k B_k A_k,    p_k = n_k / sum n

The sum of products is the product of stacked factors, so nothing is lost. It is added to the frozen
weights of every site, and all begin the next round with a fresh adapter: A as it was at first, B
zero. What was added so far travels with every message, because a site may have missed rounds: its
rank grows by that of a cohort in every round, until it is that of the weight itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedbench.rules.factors import (
    DELTA,
    added,
    delta_of,
    of_module,
    only_lora_on_plain_weights,
    summed,
)
from fedbench.rules.fedavg import local
from fedbench.rules.flexlora import upload
from fedbench.rules.lora_halves import DOWN, UP, ups
from fedbench.rules.rule import (
    USUAL,
    Claim,
    Contribution,
    Message,
    Reduced,
    Rule,
    State,
    as_factors,
)

if TYPE_CHECKING:
    from fedbench.config import RunConfig

_FIRST = "first/"

CLAIMS: frozenset[Claim] = USUAL | {"exact", "ranks"}


def flora() -> Rule:
    """The exact mean of B A, added to the backbone."""
    refuses = only_lora_on_plain_weights
    return Rule(
        "flora", "each", init, broadcast, local, upload, server, refuses, CLAIMS, as_factors,
        folds=True,
    )  # fmt: skip


def init(adapter: State, config: RunConfig) -> State:
    """The adapter, and A as it is now, to begin anew with."""
    return adapter | {_FIRST + name: a for name, a in adapter.items() if DOWN in name}


def broadcast(state: State, site: str) -> Message:
    """The fresh adapter, and all that was added to the backbone."""
    adapter = {n: t for n, t in state.items() if not n.startswith((_FIRST, DELTA))}
    return Message(adapter=adapter, extra={}, delta=delta_of(state))


def server(state: State, reduced: Reduced | Iterator[Contribution]) -> State:
    """Add the weighted sum of products to the delta, and begin anew."""
    import torch

    assert not isinstance(reduced, Reduced)
    heard = list(reduced)
    whole = sum(each.weight for each in heard)
    after = dict(state)
    for up in sorted(ups(heard[0].tensors)):
        products = [of_module(each.tensors, up) for each in heard]
        after |= added(state, up, summed(products, [each.weight / whole for each in heard]))
        after[up] = torch.zeros_like(state[up])
        after[up.replace(UP, DOWN)] = state[_FIRST + up.replace(UP, DOWN)]
    return after
