"""Sums of products B A kept as factors, for rules that change the backbone by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from fedbench.rules.lora_halves import DOWN, UP, only_lora
from fedbench.rules.rule import State

if TYPE_CHECKING:
    from torch import Tensor

    from fedbench.config import RunConfig

DELTA = "delta/"  #: in a server's state: factors of what was added to the backbone so far


class Factors(NamedTuple):
    """B (out, rank) and A (rank, in)."""

    up: Tensor
    down: Tensor


def only_lora_on_plain_weights(config: RunConfig) -> str:
    """Refuse what has no factors, and backbones whose weights cannot be added to exactly."""
    if reason := only_lora(config):
        return reason
    if config.method == "qlora":
        return "it adds to the backbone's weights, and quantised ones would have to be rounded anew"
    if config.dtype != "float32" or config.placement != "whole":
        return "it adds to the backbone's weights, which must lie on the device in float32"
    return ""


def of_module(state: State, up: str) -> Factors:
    """The factors whose B has this name."""
    return Factors(state[up], state[up.replace(UP, DOWN)])


def summed(many: Sequence[Factors], weights: Sequence[float]) -> Factors:
    """Factors of the weighted sum of products: side by side, weights on B alone."""
    import torch

    ups = [weight * each.up for weight, each in zip(weights, many, strict=True)]
    return narrowed(Factors(torch.cat(ups, dim=1), torch.cat([each.down for each in many])))


def narrowed(factors: Factors) -> Factors:
    """The same product with no more ranks than it can have, by a QR decomposition of A."""
    import torch

    rank, width = factors.down.shape
    if rank <= min(width, factors.up.shape[0]):
        return factors
    right, small = torch.linalg.qr(factors.down.double().T)
    up = factors.up.double() @ small.T
    if up.shape[1] <= up.shape[0]:
        return _of_the_kind_of(factors, up, right.T)
    left, tall = torch.linalg.qr(up)
    return _of_the_kind_of(factors, left, tall @ right.T)


def _of_the_kind_of(factors: Factors, up: Tensor, down: Tensor) -> Factors:
    return Factors(up.to(factors.up).contiguous(), down.to(factors.down).contiguous())


def delta_of(state: State) -> State:
    """The part of a server's state that is added to the backbone, under its own names."""
    return {n.removeprefix(DELTA): tensor for n, tensor in state.items() if n.startswith(DELTA)}


def added(state: State, up: str, more: Factors) -> State:
    """The delta of one projection with ``more`` added to it, as it stands in a server's state."""
    before = delta_of(state)
    whole = summed([of_module(before, up), more], [1.0, 1.0]) if up in before else narrowed(more)
    return {DELTA + up: whole.up, DELTA + up.replace(UP, DOWN): whole.down}
