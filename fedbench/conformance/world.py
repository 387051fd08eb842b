"""Toy adapters of three modules: higher than wide, wider than high, and square.

Nothing transposed fits the first two. It fits the square one, as it does many projections of real
models, and is wrong without an error.

What counts of an adapter is what it adds to each weight: scale B A, and the weight's own change.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fedbench.conformance.subject import Adapter, Site

Weights = dict[str, Tensor]  #: by module, what is added to its weight, shape (out, in)

SCALE = 2.0  #: alpha / r
_SHAPES = {"q_proj": (7, 5), "down_proj": (4, 9), "o_proj": (6, 6)}  #: (out, in)
RANK = 3


def drawn(seed: int) -> Adapter:
    """An adapter of independent normal numbers."""
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{module}.lora_{factor}.default.weight": torch.randn(shape, generator=generator)
        for module, (out, width) in _SHAPES.items()
        for factor, shape in (("A", (RANK, width)), ("B", (out, RANK)))
    }


def moving(seed: int, examples: int = 1) -> Site:
    """A site that adds the same to whatever it received."""
    step = drawn(seed)
    return Site(lambda received: {n: v + step[n] for n, v in received.items()}, examples)


def narrow(site: Site, rank: int) -> Site:
    """The same site with the first ranks alone."""
    return site._replace(rank=rank)


def still(examples: int = 1) -> Site:
    """A site that learns nothing."""
    return Site(lambda received: received, examples)


def added(adapter: Adapter, scale: float = SCALE) -> Weights:
    """By module, what the adapter adds to its weight, shape (out, in)."""
    found = {}
    for module in _SHAPES:
        up, down = (adapter[f"{module}.lora_{factor}.default.weight"] for factor in "BA")
        found[module] = scale * up.double() @ down.double() + adapter.get(f"{module}.weight", 0)
    return found


def mean(many: Sequence[Weights], examples: Sequence[int]) -> Weights:
    """The mean over sites, weighted by examples."""
    whole = sum(examples)
    return {
        module: sum((n / whole * one[module] for one, n in zip(many, examples, strict=True)),
                    start=torch.zeros(shape, dtype=torch.float64))
        for module, shape in _SHAPES.items()
    }  # fmt: skip


def distance(found: Weights, expected: Weights) -> float:
    """The norm of the difference over that of ``expected``, over all modules together."""
    gap = sum((found[m] - expected[m]).square().sum().item() for m in expected)
    size = sum(e.square().sum().item() for e in expected.values())
    return float((gap / size) ** 0.5) if size else float(gap**0.5)


def cut(weight: Tensor, rank: int) -> Tensor:
    """The nearest matrix of at most ``rank`` (Eckart and Young, 1936)."""
    u, values, v = torch.linalg.svd(weight, full_matrices=False)
    nearest: Tensor = u[:, :rank] * values[:rank] @ v[:rank]
    return nearest
