"""Gaussian noise: simulated, from a seeded stream, or real, from the operating system.

Simulated noise is a function of the configuration, as everything in a run: whoever knows the seed
can take it off again, so the epsilon of such a run is that of the mechanism and protects nobody.
The same holds for who is in a sample, which must be secret where it is counted as protection.
Real noise is made of the operating system's random bytes. Its numbers are doubles, whose gaps can
tell the noise apart (Mironov, CCS 2012); as opacus does in its secure mode, several samples are
added up to close most of them (Holohan and Braghin, arXiv:2107.10138, section 4), which is a
defence and no proof. It is drawn in fp64 and added in fp32.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from fedbench.streams import generator

#: standard normal numbers, so many, in fp64
Source = Callable[[int], "np.ndarray[tuple[int], np.dtype[np.float64]]"]
_ADDED = 4  #: samples that make one number of real noise


def simulated(*key: int | str) -> Source:
    """The stream ``privacy-noise`` at ``key``."""
    random = generator("privacy-noise", *key)
    return lambda count: random.standard_normal(count)


def real() -> Source:
    """Noise from the operating system, other at every call."""
    return _from_system


def _from_system(count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """By Box and Muller's transform of uniform numbers of 53 bits."""
    total: np.ndarray[tuple[int], np.dtype[np.float64]] = np.zeros(count)
    for _ in range(_ADDED):
        bits = np.frombuffer(os.urandom(16 * count), dtype=np.uint64).reshape(2, count) >> 11
        uniform = (bits + 0.5) * 2.0**-53  # never 0, whose logarithm is infinite
        total += np.sqrt(-2 * np.log(uniform[0])) * np.cos(2 * np.pi * uniform[1])
    total *= _ADDED**-0.5
    return total


def noised(tensors: Mapping[str, Tensor], std: float, source: Source) -> dict[str, Tensor]:
    """The tensors with independent Gaussian noise of standard deviation ``std`` on each number."""
    found = {}
    for name in sorted(tensors):
        tensor = tensors[name]
        drawn = torch.from_numpy(source(tensor.numel()) * std).view(tensor.shape)
        found[name] = (tensor.double() + drawn.to(tensor.device)).to(tensor.dtype)
    return found
