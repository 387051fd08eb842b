"""A low-rank sketch of every matrix that it makes smaller; other tensors as they are.

The range of a matrix M is found by one step of subspace iteration from a random start (Halko et
al., arXiv:0909.4061, algorithms 4.3 and 5.1; PowerSGD, Vogels et al., arXiv:1905.13727, does the
same with the last round's result as its start): Q = orth(M M^T M O), and Q and Q^T M are sent.
LoRA's factors have few ranks already; what gains is the full update of a weight.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fedbench.wire.codecs.stage import Coded, Shapes, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from fedbench.wire.codecs.stage import Random, Tensors


def low_rank(rank: float = 4) -> Stage:
    """Two factors of so many ``rank``s in place of every matrix that has more numbers."""
    if rank < 1 or rank != int(rank):
        raise ValueError(f"rank = {rank:g} must be a whole number, at least 1")
    size = int(rank)
    return Stage(partial(_encode, size), partial(_decode, size), leaves=True, differences=True,
                 additive=False)  # fmt: skip


def _encode(rank: int, tensors: Tensors, random: Random) -> Coded:
    left: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if _smaller(tensor.shape, rank):
            basis = _basis(tensor.float(), rank, random)
            left |= {f"{name}/basis": basis, f"{name}/within": basis.T @ tensor.float()}
        else:
            left[name] = tensor.float()
    return Coded(left, {})


def _decode(rank: int, coded: Coded, shapes: Shapes) -> dict[str, Tensor]:
    return {
        name: coded.left[f"{name}/basis"] @ coded.left[f"{name}/within"]
        if _smaller(shape, rank)
        else coded.left[name]
        for name, shape in shapes.items()
    }


def _basis(matrix: Tensor, rank: int, random: Random) -> Tensor:
    """An orthonormal basis of what is nearly the space of the largest singular vectors."""
    import torch

    start = random.standard_normal((matrix.shape[1], rank), dtype=np.float32)
    found = matrix @ torch.from_numpy(start)
    for _ in range(2):
        basis: Tensor = torch.linalg.qr(found.nan_to_num(0, 0, 0)).Q
        found = matrix @ (matrix.T @ basis)
    return basis


def _smaller(shape: tuple[int, ...], rank: int) -> bool:
    return len(shape) == 2 and rank * sum(shape) < math.prod(shape)
