"""Block quantisation with stochastic rounding: int8, and four bits.

As in QSGD (Alistarh et al., arXiv:1610.02132, section 3.1), with the largest magnitude of a block
as its scale in place of the norm: x of a block whose scale is s is sent as floor(x / s * L + u), u
uniform in [0, 1), so that the expected value of what is received is x. Blocks are those of one
tensor (Dettmers et al., arXiv:2110.02861, section 2.1): a large number harms only its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fedbench.wire.codecs.stage import Coded, Shapes, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from fedbench.wire.codecs.stage import Random, Tensors

_CHUNK = 1 << 18  #: numbers that are worked on together, few enough to stay in a processor's cache
_BYTE, _NIBBLE = 127, 7  #: levels on either side of zero


def int8(block: float = 256) -> Stage:
    """One byte a number, and an fp32 scale for every ``block`` of them."""
    return _stage(block, _BYTE)


def int4(block: float = 128) -> Stage:
    """Two numbers in a byte, and an fp32 scale for every ``block`` of them."""
    return _stage(block, _NIBBLE)


def _stage(block: float, levels: int) -> Stage:
    # Halves of bytes come in pairs, and chunks are whole numbers of blocks.
    if block not in {1 << power for power in range(3, 19)}:
        raise ValueError(f"block = {block:g} must be a power of two from 8 to {_CHUNK}")
    size = int(block)
    return Stage(partial(_encode, size, levels), partial(_decode, size, levels))


def _encode(block: int, levels: int, tensors: Tensors, random: Random) -> Coded:
    parts: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        codes, scales = _quantised(tensor, block, levels, random)
        parts |= {f"{name}/codes": codes, f"{name}/scales": scales}
    return Coded({}, parts)


def _quantised(tensor: Tensor, block: int, levels: int, random: Random) -> tuple[Tensor, Tensor]:
    """Codes of all numbers, packed, and the scale of every block."""
    import torch

    flat = tensor.detach().float().reshape(-1)
    codes = torch.empty(len(flat), dtype=torch.int8)
    scales = torch.empty(-(-len(flat) // block))
    for start, stop in _chunks(len(flat)):
        rows = _rows(flat[start:stop], block)
        scale = rows.abs().amax(1) / levels
        scales[start // block : -(-stop // block)] = scale
        by = torch.where(scale == 0, torch.ones(()), scale)  # nan stays, and is received as nan
        dither = torch.from_numpy(random.random(tuple(rows.shape), dtype=np.float32))
        # Rounding of the quotient may lead one past the last level.
        level = (rows / by[:, None]).add_(dither).floor_().clamp_(-levels, levels)
        codes[start:stop] = level.nan_to_num_(0).view(-1)[: stop - start].to(torch.int8)
    return (codes if levels == _BYTE else _packed(codes)), scales


def _decode(block: int, levels: int, coded: Coded, shapes: Shapes) -> dict[str, Tensor]:
    return {
        name: _restored(coded.parts[f"{name}/codes"], coded.parts[f"{name}/scales"], shape,
                        block, levels)
        for name, shape in shapes.items()
    }  # fmt: skip


def _restored(
    codes: Tensor, scales: Tensor, shape: tuple[int, ...], block: int, levels: int
) -> Tensor:
    import torch

    found = torch.empty(shape)
    flat = found.view(-1)
    for start, stop in _chunks(len(flat)):
        if levels == _BYTE:
            level = codes[start:stop]
        else:
            level = _unpacked(codes[start // 2 : -(-stop // 2)], stop - start)
        rows = _rows(level.float(), block)
        scale = scales[start // block : -(-stop // block)]
        flat[start:stop] = (rows * scale[:, None]).view(-1)[: stop - start]
    return found


def _chunks(length: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, _CHUNK):
        yield start, min(start + _CHUNK, length)


def _rows(flat: Tensor, block: int) -> Tensor:
    """One block a row, the last one filled up with zeros."""
    from torch.nn.functional import pad

    return pad(flat, (0, -len(flat) % block)).view(-1, block)


def _packed(codes: Tensor) -> Tensor:
    """Two codes from -8 to 7 in a byte, the first in its lower half."""
    import torch
    from torch.nn.functional import pad

    low, high = (pad(codes, (0, len(codes) % 2)) & 15).view(-1, 2).unbind(1)
    return (low | (high << 4)).view(torch.uint8)


def _unpacked(packed: Tensor, count: int) -> Tensor:
    import torch

    signed = packed.view(torch.int8)
    both = torch.stack([(signed << 4) >> 4, signed >> 4], 1)  # shifts of signed bytes keep signs
    return both.view(-1)[:count]
