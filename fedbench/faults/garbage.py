"""Garbage: what arrives is not what was sent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fedbench.faults.fault import Fault, Strike

if TYPE_CHECKING:
    import numpy as np


def garbage(rate: float = 0.1) -> Fault:
    """Random bytes, an answer that is cut off, or one with a bit turned over, each as often."""
    return Fault(rate, _garbled)


def _garbled(strike: Strike, random: np.random.Generator) -> Strike:
    kind, place = random.integers(3), random.random()
    noise = random.bytes(256)

    def arrives(answer: bytes) -> bytes:
        at = int(place * len(answer))
        if kind == 0:
            return noise
        if kind == 1:
            return answer[:at]
        flipped = bytearray(answer)
        flipped[at] ^= 1 << noise[0] % 8
        return bytes(flipped)

    return replace(strike, arrives=arrives)
