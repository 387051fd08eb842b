"""The whole benchmark: everything of a plan, one record, one progress display."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from fedbench.bench.alone import measure_alone
from fedbench.bench.machine import peak_flops, start_up
from fedbench.bench.outcome import check_same_end
from fedbench.bench.plan import Plan
from fedbench.bench.rounds import ROUNDERS, measure_rounds
from fedbench.bench.shapes import Alone, Timed, parameters
from fedbench.bench.stepping import STEPPERS, measure_steps
from fedbench.provenance import fingerprint, provenance
from fedbench.seeding import single_thread

_ROOT = "fedbench.running"  #: whose code is timed
Tick = Callable[[], None]
Start = Callable[[str, float], Tick]

#: Rough seconds, which only the time left is told by.
_PER_PARAMETER = 1.5e-7  #: of one step of a user's loop
_PROCESS = 15.0
_PROGRAM = 4.0


def measure(plan: Plan, progress: bool = True) -> dict[str, Any]:
    """Measure everything of ``plan`` on one thread; a record of plain values.

    Raises:
        FedbenchError: the two sides of a comparison do not do the same, or a process failed.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # it would draw over ours
    began = time.time()
    # Before anything is timed: files may change meanwhile, and were not what was measured.
    origin = provenance(fingerprint(_ROOT)) | {"command": "python -m fedbench.bench"}
    with single_thread(), _bar(_cost(plan), progress) as start:
        peaks = [peak_flops()]
        started = start_up(plan.start_up, plan.repeats, start("start-up", _PROGRAM))
        steps = [
            measure_steps(one, plan.repeats, start(_name(one), _step_seconds(one)))
            for one in plan.steps
        ]
        peaks.append(peak_flops())
        rounds = [
            measure_rounds(one, plan.repeats, start(_name(one), _round_seconds(one)))
            for one in plan.rounds
        ]
        peaks.append(peak_flops())
        alone = [_alone(each, start) for each in plan.alone]
        check_same_end(alone)
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "provenance": origin,
        "threads": 1,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "repeats": plan.repeats,
        "minutes": round((time.time() - began) / 60, 1),
        "peak_flops": max(peaks),
        "steps": steps,
        "rounds": rounds,
        "alone": alone,
        "start_up": started,
    }


def _alone(each: Alone, start: Start) -> dict[str, Any]:
    tick = start(f"{each.who}, alone", _process_seconds(each))
    found = measure_alone(each)
    tick()
    return found


def _name(timed: Timed) -> str:
    return f"{timed.size.name}, {timed.shape.name}"


def _step_seconds(timed: Timed) -> float:
    """About what a user's loop needs for the steps of one site."""
    return timed.work.steps * parameters(timed.size) * _PER_PARAMETER


def _process_seconds(each: Alone) -> float:
    steps = each.rounds * each.work.cohort * each.work.steps
    return _PROCESS + steps * parameters(each.size) * _PER_PARAMETER


def _cost(plan: Plan) -> float:
    """About how many seconds a plan takes, as its ticks add up."""
    return (
        plan.repeats * len(plan.start_up) * _PROGRAM
        + sum(plan.repeats * STEPPERS * _step_seconds(timed) for timed in plan.steps)
        + sum(plan.repeats * ROUNDERS * _round_seconds(timed) for timed in plan.rounds)
        + sum(map(_process_seconds, plan.alone))
    )


def _round_seconds(timed: Timed) -> float:
    return timed.work.cohort * _step_seconds(timed)


@contextmanager
def _bar(total: float, shown: bool) -> Iterator[Start]:
    """A bar over estimated seconds; ``start(name, seconds of one call)`` returns its ``tick``."""
    layout = "{desc:<32.32}{percentage:3.0f}% |{bar}| {elapsed} done, {remaining} left"
    with tqdm(total=total, disable=not shown, bar_format=layout) as bar:

        def start(name: str, each: float) -> Tick:
            bar.set_description_str(name)

            def tick() -> None:
                bar.update(each)

            return tick

        yield start
