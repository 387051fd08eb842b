"""Training steps by themselves: ours beside a user's loop, with and without dropout."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from fedbench.bench.pairs import interleaved
from fedbench.bench.shapes import Timed, batches_of, config_of, sequences
from fedbench.bench.sides import (
    DROPOUT,
    OURS,
    OURS_WET,
    PLAIN,
    PLAIN_DRY,
    check_same_work,
    ours,
    plain,
)
from fedbench.train import TrainReport

STEPPERS = 4  #: how many take part


def measure_steps(timed: Timed, repeats: int, tick: Callable[[], None]) -> dict[str, Any]:
    """Seconds of a call that makes ``work.steps`` steps, of every contender, repeat by repeat.

    Raises:
        FedbenchError: the two sides do not do the same work.
    """
    size, shape, work = timed.size, timed.shape, timed.work
    dry, wet = config_of(work), config_of(work, dropout=DROPOUT)
    held = sequences(shape, work.steps * work.batch_size, "steps")
    batches = batches_of(held, dry, "steps")
    sides = {
        OURS: ours(size, dry),
        PLAIN: plain(size, wet),
        PLAIN_DRY: plain(size, dry),
        OURS_WET: ours(size, wet),
    }
    same = check_same_work(sides[OURS].model, sides[PLAIN_DRY].model, batches)
    report = cast("TrainReport", sides[OURS].train(batches))
    for side in sides.values():
        side.train(batches[:1])  # the first step of a process is slower than all others
    calls = {name: partial(side.train, batches) for name, side in sides.items()}
    return {
        "size": size.name,
        "shape": shape.name,
        "steps": work.steps,
        "batch_size": work.batch_size,
        "tokens": report.tokens,
        "flops": report.flops,
        "seconds": interleaved(calls, repeats, tick),
        **same,
    }
