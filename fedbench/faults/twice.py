"""Repetition: an answer arrives twice, as where a network sends again what it thought lost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fedbench.faults.fault import Fault, Strike

if TYPE_CHECKING:
    import numpy as np


def twice(rate: float = 0.1) -> Fault:
    """It must count once."""
    return Fault(rate, _again)


def _again(strike: Strike, random: np.random.Generator) -> Strike:
    return replace(strike, copies=2)
