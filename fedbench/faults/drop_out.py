"""Drop-out: a site is drawn into the cohort and is gone before its message comes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fedbench.faults.fault import Fault, Strike

if TYPE_CHECKING:
    import numpy as np


def drop_out(rate: float = 0.1) -> Fault:
    """It is told nothing and does nothing; the server notices at once that it is gone."""
    return Fault(rate, _gone)


def _gone(strike: Strike, random: np.random.Generator) -> Strike:
    return replace(strike, mishap=replace(strike.mishap, gone=True))
