"""FedEx-LoRA (Singhal et al., arXiv:2410.09432, equations 11 to 13): averaging and its residual.

    A  <-  sum_k p_k A_k,    B  <-  sum_k p_k B_k,    p_k = n_k / sum n
    W  <-  W + (alpha / r) (sum_k p_k B_k A_k - B A)

FedAvg of the factors, and what it lacks of the mean of products is added to the frozen weights. The
residual is kept as factors, [p_1 B_1, p_2 B_2, ..., -B] and [A_1; A_2; ...; A], and travels with
every message, because a site may have missed rounds: its rank grows in every round, until it is
that of the weight itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fedbench.rules.factors import (
    DELTA,
    Factors,
    added,
    delta_of,
    of_module,
    only_lora_on_plain_weights,
    summed,
)
from fedbench.rules.fedavg import init, local
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
    from torch import Tensor

CLAIMS: frozenset[Claim] = USUAL | {"exact", "ranks"}


def fedex_lora() -> Rule:
    """FedAvg of the factors, and the residual added to the backbone."""
    refuses = only_lora_on_plain_weights
    return Rule(
        "fedex-lora", "each", init, broadcast, local, upload, server, refuses, CLAIMS, as_factors,
        folds=True,
    )  # fmt: skip


def broadcast(state: State, site: str) -> Message:
    """The mean factors, and all residuals so far."""
    adapter = {name: tensor for name, tensor in state.items() if not name.startswith(DELTA)}
    return Message(adapter=adapter, extra={}, delta=delta_of(state))


def server(state: State, reduced: Reduced | Iterator[Contribution]) -> State:
    """Average the factors, and add to the delta what that lacks of the mean of products."""
    assert not isinstance(reduced, Reduced)
    heard = list(reduced)
    whole = sum(each.weight for each in heard)
    weights = [each.weight / whole for each in heard]
    after = dict(state)
    for up in sorted(ups(heard[0].tensors)):
        products = [of_module(each.tensors, up) for each in heard]
        mean = Factors(_mean([p.up for p in products], weights),
                       _mean([p.down for p in products], weights))  # fmt: skip
        after[up], after[up.replace(UP, DOWN)] = mean
        after |= added(state, up, summed([*products, mean], [*weights, -1.0]))
    return after


def _mean(many: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    parts = [weight * each for weight, each in zip(weights, many, strict=True)]
    return sum(parts[1:], start=parts[0])
