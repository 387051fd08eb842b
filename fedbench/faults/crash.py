"""A crash: an exception in the middle of local training, after some of its steps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fedbench.faults.fault import Fault, Strike

if TYPE_CHECKING:
    import numpy as np


def crash(rate: float = 0.1) -> Fault:
    """After a share of the steps that is drawn evenly; the server notices at once."""
    return Fault(rate, _crashes)


def _crashes(strike: Strike, random: np.random.Generator) -> Strike:
    return replace(strike, mishap=replace(strike.mishap, crash=random.random()))
