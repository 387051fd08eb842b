"""The largest numbers alone (Aji and Heafield, arXiv:1704.05021, section 3).

Largest of all tensors of an update together, so that a tensor that hardly moves sends hardly
anything. What is left out is lost, unless error feedback (``ef+``) keeps it for later.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from fedbench.wire.codecs.stage import Coded, Shapes, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from fedbench.wire.codecs.stage import Random, Tensors


def top_k(share: float = 0.01) -> Stage:
    """A ``share`` of the numbers, rounded up, each with its place in 32 bits."""
    if not 0 < share <= 1:
        raise ValueError(f"share = {share:g} must be above 0 and at most 1")
    return Stage(partial(_encode, share), _decode, leaves=True, differences=True, additive=False)


def _encode(share: float, tensors: Tensors, random: Random) -> Coded:
    import torch

    if not tensors:
        return Coded({}, {})
    flat = torch.cat([tensors[name].float().reshape(-1) for name in sorted(tensors)])
    kept = math.ceil(share * len(flat))
    places = flat.abs().topk(kept, sorted=False).indices.sort().values
    return Coded({"values": flat[places]}, {"places": places.to(torch.int32)})


def _decode(coded: Coded, shapes: Shapes) -> dict[str, Tensor]:
    import torch

    if not shapes:
        return {}
    sizes = {name: math.prod(shapes[name]) for name in sorted(shapes)}
    flat = torch.zeros(sum(sizes.values()))
    places = coded.parts["places"].long()
    if len(places) and not 0 <= int(places.min()) <= int(places.max()) < len(flat):
        raise ValueError("a place lies outside of all tensors")
    flat[places] = coded.left["values"]
    found = zip(sizes, flat.split([*sizes.values()]), strict=True)
    return {name: tensor.view(shapes[name]).clone() for name, tensor in found}
