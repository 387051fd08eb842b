"""The interface of a fault: what befalls one answer of a site, and how likely that is.

A fault is drawn for every attempt of a site to answer in a round, from a stream of its own, so that
what happens is a function of the configuration. Time is simulated: a site that nothing befalls
answers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class Crashed(Exception):
    """Local training that was made to crash; any other exception at a site is a defect of ours."""


@dataclass(frozen=True)
class Mishap:
    """What goes wrong at a site: plain values, which travel to another process."""

    gone: bool = False  #: it dropped out, and is never told anything
    crash: float | None = None  #: share of its steps after which training crashes
    holds: int | None = None  #: most examples of a step that its memory holds


SAFE = Mishap()


def as_sent(answer: bytes) -> bytes:
    """What a site sent is what arrives."""
    return answer


@dataclass(frozen=True)
class Strike:
    """All that befalls one answer of a site."""

    kinds: tuple[str, ...] = ()  #: names of the faults
    mishap: Mishap = SAFE
    lost: bool = False  #: whether the answer never arrives
    seconds: float = 0.0  #: by which the answer is late, simulated
    copies: int = 1  #: how often the answer arrives
    arrives: Callable[[bytes], bytes] = as_sent  #: what arrives in place of what was sent

    @property
    def speaks(self) -> bool:
        """Whether the site gets as far as sending an answer."""
        mishap = self.mishap
        return not mishap.gone and mishap.crash is None and mishap.holds != 0


UNHARMED = Strike()


@dataclass(frozen=True)
class Fault:
    """A kind of fault."""

    rate: float  #: probability with which it befalls one attempt of a site to answer in a round
    #: what is befallen by it besides, from a stream of random numbers of this very attempt
    strikes: Callable[[Strike, np.random.Generator], Strike]
    slow: bool = False  #: whether a deadline tells it from an answer in time
    endless: bool = False  #: whether it would be waited for for ever without a deadline

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ValueError("rate must be above 0 and at most 1")
