"""Rotary position embedding as one node of the graph.

As a model's own code writes it, it takes five passes over its input forwards and more backwards.
It is a rotation, so its gradient turns back by the same angles.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def turned(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(l, r) -> (l cos - r sin, r cos + l sin), with l and r the halves of every head.

    arXiv:2104.09864, eq. 34, in the order of Hugging Face's models.

    Args:
        heads: (tokens, heads, width).
        cos: (tokens, 1, width), its two halves alike, as are those of ``sin``.
        sin: likewise.
    """
    return _Turned.apply(heads, cos, sin)  # type: ignore[no-any-return,no-untyped-call]


class _Turned(torch.autograd.Function):
    """Turns by an angle; its gradient turns back by the same."""

    @staticmethod
    def forward(ctx: Any, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(heads, cos, sin, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return _rotate(dy, cos, sin, -1), None, None


def _rotate(heads: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    half = heads.shape[-1] // 2
    narrow = sin[..., :half]
    result = heads * cos
    result[..., :half].addcmul_(heads[..., half:], narrow, value=-sign)
    result[..., half:].addcmul_(heads[..., :half], narrow, value=sign)
    return result
