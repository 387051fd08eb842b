"""FlexLoRA (Bai et al., arXiv:2402.11505, section 3.2): the average of products, factored again.

The mean of B_k A_k over sites has a rank of up to the sum of theirs; the best approximation of the
shared rank r is its singular value decomposition, cut. The scale alpha / r is the same for all, so
it factors out. Nothing of the size of a weight is formed: with B = [w_1 B_1, w_2 B_2, ...] and
A = [A_1; A_2; ...], the mean is B A = Q (R S') P' for thin QR decompositions B = Q R and A' = P S,
and only the small product R S' is decomposed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fedbench.models.ranks import filled_up
from fedbench.rules.fedavg import broadcast, init, local
from fedbench.rules.lora_halves import DOWN, UP, only_lora, ups
from fedbench.rules.rule import (
    USUAL,
    Claim,
    Contribution,
    Message,
    Reduced,
    Rule,
    State,
    Work,
    as_factors,
)

if TYPE_CHECKING:
    from torch import Tensor

CLAIMS: frozenset[Claim] = USUAL | {"best", "ranks"}


def flexlora() -> Rule:
    """The best factors of the shared rank for the weighted mean of B A."""
    refuses = only_lora
    return Rule(
        "flexlora", "each", init, broadcast, local, upload, server, refuses, CLAIMS, as_factors
    )


def upload(
    message: Message, trained: State, site_state: State, work: Work
) -> tuple[Contribution, State]:
    """The factors themselves: a difference of factors says nothing of the product."""
    return Contribution(trained, float(work.examples)), {}


def server(state: State, reduced: Reduced | Iterator[Contribution]) -> State:
    """Replace every pair of factors by those of the mean product."""
    assert not isinstance(reduced, Reduced)
    heard = list(reduced)
    whole = sum(each.weight for each in heard)
    weights = [each.weight / whole for each in heard]
    after = dict(state)
    for up in sorted(ups(state)):
        down = up.replace(UP, DOWN)
        after[up], after[down] = refactored(
            [each.tensors[up] for each in heard],
            [each.tensors[down] for each in heard],
            weights,
            rank=state[down].shape[0],
        )
    return after


def refactored(
    many_up: Sequence[Tensor], many_down: Sequence[Tensor], weights: Sequence[float], rank: int
) -> tuple[Tensor, Tensor]:
    """B (out, rank) and A (rank, in) whose product is nearest to the weighted mean of products.

    B holds the singular values, and the rows of A are orthonormal, so that a direction in which
    nothing was learned can still be learned later: with both of its parts zero it could not.
    """
    import torch

    up = torch.cat([w * b.double() for w, b in zip(weights, many_up, strict=True)], dim=1)
    down = torch.cat([a.double() for a in many_down])
    left, r = torch.linalg.qr(up)
    right, s = torch.linalg.qr(down.T)
    u, values, v = torch.linalg.svd(r @ s.T)
    kept = min(rank, len(values))
    b, a = left @ (u[:, :kept] * values[:kept]), v[:kept] @ right.T
    kind = many_up[0].dtype
    return filled_up(b.to(kind), rank, 1), filled_up(a.to(kind), rank, 0)
