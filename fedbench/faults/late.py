"""Lateness: an answer takes longer than those of others, perhaps longer than the server waits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fedbench.faults.fault import Fault, Strike

if TYPE_CHECKING:
    import numpy as np


def late(rate: float = 0.1, seconds: float = 90.0) -> Fault:
    """It takes ``seconds`` (simulated) more; beyond the deadline it comes in the next exchange.

    Raises:
        ValueError: ``seconds`` is not above 0.
    """
    if seconds <= 0:
        raise ValueError("seconds must be above 0")

    def slower(strike: Strike, random: np.random.Generator) -> Strike:
        return replace(strike, seconds=seconds)

    return Fault(rate, slower, slow=True)
