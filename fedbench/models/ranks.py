"""Factors of LoRA with fewer ranks than the shared adapter has: cut, and filled up with zeros.

A site of rank r_k holds the first r_k rows of A and columns of B. Where both halves of a rank are
zero, so are the gradients of both: to train the factors filled up with zeros is to train those
that were cut, at the scale alpha / r of the shared adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fedbench.models.lora_names import DOWN, UP

if TYPE_CHECKING:
    from torch import Tensor


def narrowed(tensors: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """The first ``rank`` rows of every A and columns of every B; other tensors as they are."""
    return {
        name: tensor if _rank(name, tensor) <= rank else tensor.narrow(_side(name), 0, rank)
        for name, tensor in tensors.items()
    }


def widened(tensors: Mapping[str, Tensor], held: int, rank: int) -> dict[str, Tensor]:
    """Every A and B, which have ``held`` ranks, with zeros up to ``rank``; others as they are.

    Raises:
        ValueError: a factor has more or fewer ranks than ``held``.
    """
    for name, tensor in tensors.items():
        if _rank(name, tensor) not in (0, held):
            raise ValueError(f"{name} has {_rank(name, tensor)} ranks, not {held}")
    return padded(tensors, rank)


def padded(tensors: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """Every A and B with zeros up to ``rank``; other tensors as they are."""
    return {
        name: filled_up(tensor, rank, _side(name)) if 0 < _rank(name, tensor) < rank else tensor
        for name, tensor in tensors.items()
    }


def _side(name: str) -> int:
    """Along which dimension the ranks of a factor lie."""
    return 1 if UP in name else 0


def _rank(name: str, tensor: Tensor) -> int:
    """0 for what is no factor of LoRA.

    Raises:
        ValueError: it is called one, and is no matrix.
    """
    if UP not in name and DOWN not in name:
        return 0
    if tensor.dim() < 2:
        raise ValueError(f"{name} has {tensor.dim()} dimensions, and a factor has two")
    return tensor.shape[_side(name)]


def filled_up(factor: Tensor, rank: int, side: int) -> Tensor:
    """One factor, whose ranks lie along dimension ``side``, with zeros up to ``rank``."""
    import torch

    shape = list(factor.shape)
    shape[side] = rank - shape[side]
    return torch.cat([factor, factor.new_zeros(shape)], dim=side)
