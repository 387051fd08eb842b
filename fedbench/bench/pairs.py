"""Interleaved repeats and ratios within a repeat: a machine that slows down slows everybody."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Clock = Callable[[], float]


@dataclass(frozen=True)
class Spread:
    """A median with the least and the greatest value, over ``n`` repeats."""

    median: float
    lowest: float
    highest: float
    n: int

    @property
    def numbers(self) -> dict[str, float]:
        """As a record and a table have them."""
        return {"median": self.median, "lowest": self.lowest, "highest": self.highest, "n": self.n}


def spread(values: Sequence[float]) -> Spread:
    """Median and extremes of at least one value."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Of our value over theirs, repeat by repeat; below 1 is better."""
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True)])


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    repeats: int,
    tick: Callable[[], None] = lambda: None,
    clock: Clock = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of every contender in every repeat, each in turn.

    Whoever began one repeat comes last in the next, so that no place in the order is anybody's.

    Args:
        contenders: what to call, by name; warm already, because every call counts.
        repeats: calls of each.
        tick: called after every call.
        clock: seconds that only grow.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for repeat in range(repeats):
        start = repeat % len(names)
        for name in names[start:] + names[:start]:
            gc.collect()
            began = clock()
            contenders[name]()
            seconds[name].append(clock() - began)
            tick()
    return seconds
