"""HetLoRA (Cho et al., arXiv:2401.06432, section 3): sites of unequal ranks, by what they learned.

    A  <-  sum_k q_k [A_k; 0],    B  <-  sum_k q_k [B_k, 0],    q_k = |B_k A_k| / sum |B A|

with the Frobenius norm over all projections. A site gets the first r_k ranks of the shared adapter,
and what it returns is filled up with zeros, which pull the ranks that it lacks towards zero; that
sites of many ranks mostly have the greater norm is the remedy. FedAvg as it is here averages
updates, so that a rank stays as it is where a site lacks it. The paper's pruning of ranks during
training is not done.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedbench.rules.fedavg import broadcast, init, local
from fedbench.rules.lora_halves import DOWN, UP, only_lora, ups
from fedbench.rules.rule import Claim, Contribution, Message, Reduced, Rule, State, Work, as_factors

if TYPE_CHECKING:
    from torch import Tensor

CLAIMS: frozenset[Claim] = frozenset({"alone", "ranks"})


def hetlora() -> Rule:
    """The mean of factors, weighted by the norm of their product."""
    return Rule(
        "hetlora", "sum", init, broadcast, local, upload, server, only_lora, CLAIMS, as_factors
    )


def upload(
    message: Message, trained: State, site_state: State, work: Work
) -> tuple[Contribution, State]:
    """The factors themselves, and the norm of their product."""
    squares = [_square(trained[up], trained[up.replace(UP, DOWN)]) for up in sorted(ups(trained))]
    return Contribution(trained, sum(squares) ** 0.5), {}


def server(state: State, reduced: Reduced | Iterator[Contribution]) -> State:
    """The weighted mean; the state as it is where nobody has learned anything."""
    assert isinstance(reduced, Reduced)
    return reduced.mean if reduced.weight else state


def _square(up: Tensor, down: Tensor) -> float:
    """The squared norm of B A, from products of the size of a rank."""
    up, down = up.double(), down.double()
    return max(0.0, float(((up.T @ up) * (down @ down.T)).sum()))
