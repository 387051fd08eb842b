"""Silence: a site trains, and its answer never arrives; what it keeps is ahead of the server."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fedbench.faults.fault import Fault, Strike

if TYPE_CHECKING:
    import numpy as np


def silent(rate: float = 0.1) -> Fault:
    """Only a deadline ends the wait for it."""
    return Fault(rate, _lost, slow=True, endless=True)


def _lost(strike: Strike, random: np.random.Generator) -> Strike:
    return replace(strike, lost=True)
