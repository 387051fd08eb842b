"""One projection; LoRA beside a plain one in as few steps as its arithmetic needs.

peft computes W x, then B (A x), scales it and adds it: two more passes over the output forwards and
backwards, and a graph of six nodes. The same in one node is W x + s B (A x) accumulated in place,
with the gradients of arXiv:2106.09685, eq. 3, written out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def project(layer: nn.Module, x: Tensor) -> Tensor:
    """``layer(x)`` for ``x`` of shape (tokens, width)."""
    factors = None if torch.is_autocast_enabled(x.device.type) else _factors(layer)
    if factors is None:
        return layer(x)  # type: ignore[no-any-return]
    return _LoraLinear.apply(x, *factors)  # type: ignore[no-any-return,no-untyped-call]


def _factors(layer: Any) -> tuple[Any, ...] | None:
    """Weight, bias, A, B and scale of one plain LoRA on a plain layer; None for all else."""
    if not hasattr(layer, "lora_A") or layer.merged or layer.disable_adapters:
        return None
    base, (name, *others) = layer.base_layer, layer.active_adapters
    down, up = layer.lora_A[name], layer.lora_B[name]
    plain = (
        type(base) is nn.Linear
        and not others
        and name not in layer.lora_variant
        and isinstance(layer.lora_dropout[name], nn.Identity)
        and up.bias is None
        and down.weight.dtype == base.weight.dtype
        and not any(parameter.requires_grad for parameter in base.parameters())
    )
    return (base.weight, base.bias, down.weight, up.weight, layer.scaling[name]) if plain else None


class _LoraLinear(torch.autograd.Function):
    """y = x Wᵀ + bias + s (x Aᵀ) Bᵀ, with W and bias frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        narrow = x @ a.T
        y = torch.nn.functional.linear(x, weight, bias)
        y.addmm_(narrow, b.T, alpha=scale)
        ctx.save_for_backward(x, narrow, weight, a, b)
        ctx.scale = scale
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, narrow, weight, a, b = ctx.saved_tensors
        of_x, _, _, of_a, of_b, _ = ctx.needs_input_grad
        back = (dy @ b).mul_(ctx.scale)
        dx = da = db = None
        if of_x:
            dx = (dy @ weight).addmm_(back, a)
        if of_a:
            da = back.T @ x
        if of_b:
            db = (dy.T @ narrow).mul_(ctx.scale)
        return dx, None, None, da, db, None
