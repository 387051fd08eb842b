"""Updates as whole numbers modulo 2^32 or 2^64, so that masks cancel exactly.

A site's update becomes ``weight x tensor`` for every number of it, and the weight itself as one
more coordinate: the server learns the weighted sum and the sum of weights. Weights are shares of a
public greatest weight, and every number is within a public bound, so that no sum over all sites
can wrap: each gets ``top = (2^(bits - 1) - 1) // sites`` steps on either side of zero, a step being
``unit = bound / top``. Numbers are rounded to the nearest step, which puts a sum of n sites off by
n / 2 units at most.

For 16 sites and a bound of 1 a unit is 7.5e-9 with 32 bits: an eighth of what fp32 distinguishes
just below 1. What matters is the bound beside the numbers: a bound a thousand times what an update
has costs ten bits. With a clip of the update's L2 norm, that norm is a bound of its numbers. With
64 bits there are 2^53 steps, the most that a double tells apart, and payloads are twice as long.

Rounding also makes vectors longer. Whose updates are clipped for privacy must clip them to less
(:func:`shortened`), or a site moves the sum by more than noise is made for (Kairouz et al.,
arXiv:2102.06387, section 4.1, round at random and bound by how much instead).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fedbench.errors import FedbenchError
from fedbench.models.tensors import Tensors, count
from fedbench.secure_aggregation.masks import Words

#: by bits: the type of a word, and of the same bytes with a sign
_TYPES: Mapping[int, tuple[np.dtype[Any], np.dtype[Any]]] = {
    32: (np.dtype("<u4"), np.dtype("<i4")),
    64: (np.dtype("<u8"), np.dtype("<i8")),
}
_EXACT = 1 << 53  #: whole numbers up to here are doubles
_ROUGHLY = 1e-9  #: more than doubles lose of a norm, and of a number on its way to steps


@dataclass(frozen=True)
class FixedPoint:
    """How numbers become words. All of it is public, and the same at every site.

    Raises:
        FedbenchError: no positive bound, neither 32 nor 64 bits, or too many sites.
    """

    sites: int  #: at most so many are added up
    bound: float  #: of the absolute value of every number of an update
    bits: int = 32  #: of a word

    def __post_init__(self) -> None:
        if self.bits not in _TYPES:
            raise FedbenchError(f"Words of secure sums have 32 or 64 bits, not {self.bits}.")
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise FedbenchError(f"The bound of secure sums is {self.bound}: give one above zero.")
        if not 1 <= self.sites < 1024:
            raise FedbenchError(f"Secure sums are over 1 to 1023 sites, not {self.sites}.")

    @property
    def top(self) -> int:
        """Steps from zero to the bound."""
        return min(((1 << self.bits - 1) - 1) // self.sites, _EXACT)

    @property
    def unit(self) -> float:
        """Size of a step; a sum over n sites is off by n / 2 of them at most."""
        return self.bound / self.top

    @property
    def words(self) -> np.dtype[Any]:
        """The type of a word."""
        return _TYPES[self.bits][0]


def encoded(tensors: Tensors, weight: float, scheme: FixedPoint) -> Words:
    """Weight x every number, tensors by sorted name, and the weight: one word more than numbers.

    Args:
        weight: in units of the greatest weight that any site may have.

    Raises:
        FedbenchError: the weight is not in (0, 1], or a number is not finite or out of bounds;
            behind a mask nobody could see it. Neither it nor its tensor is told: a server reads why
            a site takes no part.
    """
    if not 0 < weight <= 1:
        raise FedbenchError(
            "An update counts with nothing or beyond the greatest: raise secure.greatest_weight."
        )
    check_finite(tensors)
    words = np.empty(count(tensors) + 1, _TYPES[scheme.bits][1])
    start = 0
    for name in sorted(tensors):
        numbers = tensors[name].detach().double().flatten()
        _check_bound(numbers, scheme.bound)
        steps = (numbers * (weight * scheme.top / scheme.bound)).round_()
        words[start : start + len(numbers)] = steps.numpy()
        start += len(numbers)
    words[-1] = round(weight * scheme.top)
    return words.view(scheme.words)


def decoded(
    words: Words, shapes: Mapping[str, Sequence[int]], scheme: FixedPoint
) -> tuple[Tensors, float]:
    """The weighted sum in fp64, and the sum of weights.

    In fp32, a sum of many would be rounded by more than its steps, and a site could move it by more
    than its words do.

    Raises:
        FedbenchError: there are not as many words as the shapes have numbers, and one.
    """
    length = sum(math.prod(shape) for shape in shapes.values()) + 1
    if len(words) != length:
        raise FedbenchError(f"A secure sum has {len(words)} words where {length} are expected.")
    signed = words.view(_TYPES[scheme.bits][1])
    tensors, start = {}, 0
    for name in sorted(shapes):
        end = start + math.prod(shapes[name])
        numbers = torch.from_numpy(signed[start:end] * scheme.unit)
        tensors[name] = numbers.reshape(tuple(shapes[name]))
        start = end
    return tensors, int(signed[-1]) / scheme.top


def shortened(norm: float, numbers: int, scheme: FixedPoint) -> float:
    """The norm of so many numbers that rounding to steps takes to ``norm`` at most; perhaps none.

    Rounding moves each number by half a step at most, so all of them by sqrt(numbers) halves.
    """
    return norm * (1 - _ROUGHLY) - math.sqrt(numbers) / 2 * scheme.unit


def clipped(tensors: Tensors, bound: float) -> Tensors:
    """Every number moved to the nearest within the bound; one that is none stays, to be refused."""
    within = {name: _within(bound, tensor.dtype) for name, tensor in tensors.items()}
    return {name: tensor.clamp(-within[name], within[name]) for name, tensor in tensors.items()}


def _within(bound: float, dtype: torch.dtype) -> float:
    """The greatest number of a type that is not beyond the bound: fp32's nearest to 0.3 is."""
    nearest = torch.tensor(bound, dtype=dtype)
    if nearest.item() > bound:
        nearest = torch.nextafter(nearest, torch.zeros_like(nearest))
    return float(nearest)


def check_finite(tensors: Tensors) -> None:
    """Make sure that all numbers can be summed.

    Raises:
        FedbenchError: one cannot. It says nothing else of them, for a server will read it.
    """
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise FedbenchError(
            "An update is not finite and cannot be summed: lower the learning rate."
        )


def _check_bound(numbers: torch.Tensor, bound: float) -> None:
    if len(numbers) and max(abs(float(end)) for end in torch.aminmax(numbers)) > bound:
        raise FedbenchError(
            "An update holds a number beyond what secure sums hold: clip it or raise secure.bound."
        )
