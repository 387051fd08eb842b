"""Seconds of every phase of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from fedbench.energy.ledger import Ledger
from fedbench.phases import observed


class _NoMeter:
    """Time is all that is asked for."""

    def start(self) -> None:
        """Measure nothing."""

    def stop(self) -> dict[str, float]:
        """Return nothing."""
        return {}

    def how(self) -> dict[str, str]:
        """Say nothing."""
        return {}

    def grid_factor(self) -> tuple[float, str]:
        """No energy, no emissions."""
        return 0.0, "nothing was measured"


@contextmanager
def observed_seconds() -> Iterator[dict[str, float]]:
    """A dictionary that holds, once the block has ended, the seconds of every phase in it.

    What belongs to no phase is called ``other``, so the parts add up to the block.
    """
    ledger, seconds = Ledger(_NoMeter()), defaultdict[str, float](float)
    with observed(ledger.phase), ledger.phase("other"):
        yield seconds
    seconds.update(ledger.report()["seconds"])
