"""The sign of every number, and the mean magnitude of each tensor.

signSGD (Bernstein et al., arXiv:1802.04434) scaled as in EF-SignSGD (Karimireddy et al.,
arXiv:1901.09847, algorithm 1), by tensor: x is received as mean(|x|) sign(x). Zero counts as
positive, but in a tensor of zeros, which is received as it is. The vote of a majority over such
signs is a rule (:mod:`fedbench.rules.majority_vote`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fedbench.wire.codecs.stage import Coded, Shapes, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from fedbench.wire.codecs.stage import Random, Tensors


def sign() -> Stage:
    """One bit a number, and an fp32 scale for every tensor."""
    return Stage(_encode, _decode, differences=True, additive=False)


def _encode(tensors: Tensors, random: Random) -> Coded:
    import torch

    parts = {}
    for name, tensor in tensors.items():
        flat = tensor.float().reshape(-1)
        parts[f"{name}/signs"] = torch.from_numpy(np.packbits((flat >= 0).numpy()))
        parts[f"{name}/scale"] = flat.abs().mean() if len(flat) else torch.zeros(())
    return Coded({}, parts)


def _decode(coded: Coded, shapes: Shapes) -> dict[str, Tensor]:
    import torch

    found = {}
    for name, shape in shapes.items():
        bits = np.unpackbits(coded.parts[f"{name}/signs"].numpy(), count=math.prod(shape))
        signs = torch.from_numpy(bits.astype(np.float32)).mul_(2).sub_(1)
        found[name] = signs.mul_(coded.parts[f"{name}/scale"]).view(shape)
    return found
