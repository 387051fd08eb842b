"""Too little memory: a step runs out of it, and is done in parts that fit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fedbench.faults.fault import Fault, Strike

if TYPE_CHECKING:
    import numpy as np


def memory(rate: float = 0.1, holds: float = 1.0) -> Fault:
    """Memory holds so many examples of a step; 0: not even one, so that the site fails.

    Raises:
        ValueError: ``holds`` is no number of examples.
    """
    if holds < 0 or holds != int(holds):
        raise ValueError("holds must be a whole number of examples")

    def short(strike: Strike, random: np.random.Generator) -> Strike:
        return replace(strike, mishap=replace(strike.mishap, holds=int(holds)))

    return Fault(rate, short)
