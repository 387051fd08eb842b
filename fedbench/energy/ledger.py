"""Who used what: seconds and joules of every phase, each moment billed to one phase only."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fedbench.energy.meters import Meter
from fedbench.phases import Phase

Clock = Callable[[], float]

#: Seconds after which the meter is read at the next change of phase. Reading takes milliseconds,
#: and a round changes phase dozens of times: between two readings, joules are shared by time.
RESOLUTION = 0.25


class Ledger:
    """Observes the phases of a run (:func:`fedbench.phases.observed`) with one meter.

    A phase inside another interrupts it, so the parts add up to the whole. What the meter itself
    takes is billed to nobody and told as ``overhead_seconds``.
    """

    def __init__(self, meter: Meter, clock: Clock = time.perf_counter) -> None:
        self._meter, self._clock = meter, clock
        self._open: list[Phase] = []
        self._since = self._read = 0.0
        self._overhead = 0.0
        self._unread: dict[str, float] = defaultdict(float)  #: seconds since the last reading
        self._seconds: dict[str, float] = defaultdict(float)
        self._joules: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Bill the block to ``name``, and what it interrupts to what was open before."""
        self._enter(name)
        try:
            yield
        finally:
            self._leave()

    def report(self) -> dict[str, Any]:
        """Seconds and joules by phase, how each component was obtained, and the overhead."""
        return {
            "seconds": dict(self._seconds),
            "joules": {name: dict(parts) for name, parts in self._joules.items()},
            "how": dict(self._meter.how()),
            "overhead_seconds": self._overhead,
        }

    def _enter(self, name: Phase) -> None:
        if self._open:
            self._note()
        else:
            self._start_meter()
        self._open.append(name)

    def _leave(self) -> None:
        self._note(last=len(self._open) == 1)
        self._open.pop()

    def _note(self, last: bool = False) -> None:
        """Bill the time since the last change; read the meter if that is long enough ago."""
        now = self._clock()
        self._unread[self._open[-1]] += now - self._since
        self._since = now
        if last or now - self._read >= RESOLUTION:
            self._bill(self._meter.stop())
            self._overhead += self._clock() - now
            if not last:
                self._start_meter()

    def _start_meter(self) -> None:
        before = self._clock()
        self._meter.start()
        self._since = self._read = self._clock()
        self._overhead += self._since - before

    def _bill(self, joules: Mapping[str, float]) -> None:
        whole = sum(self._unread.values())
        for name, seconds in self._unread.items():
            self._seconds[name] += seconds
            for component, spent in joules.items():
                share = seconds / whole if whole else 0.0
                self._joules[name][component] += share * spent
        self._unread.clear()
