"""What a profile has, what it lacks and why, and how long the rest will take.

A run is fresh, stale or missing by the hashes of its configuration, code, data and backbone alone:
no date is looked at. A run that the repository keeps is drawn as recorded and never done again, so
it counts as there; that its code has moved is said all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from fedbench import grid, profiles, store
from fedbench.config import TRAINED, RunConfig
from fedbench.energy import suite
from fedbench.errors import Replaceable
from fedbench.freshness import moved
from fedbench.store import Run

State = Literal["fresh", "recorded", "stale", "missing"]
STATES: tuple[State, ...] = ("fresh", "recorded", "stale", "missing")

#: What a run's time depends on, whatever the task: a search scores one item, say, and a run all.
_KIND = ("backbone", "method", "compute", "setting", "train_limit", "test_limit", "generated")
#: The same, from the most alike to the least.
_ALIKE = (("task", *_KIND), _KIND)


@dataclass(frozen=True)
class Standing:
    """Where one planned run stands."""

    config: RunConfig
    state: State
    reason: str = ""  #: why it is stale, or what has moved since it was recorded


@dataclass(frozen=True)
class Estimate:
    """How long the runs that are to be done will take together."""

    seconds: float
    source: str  #: what the number was made from


def standing(config: RunConfig) -> Standing:
    """Where the run of ``config`` stands."""
    if not store.exists(config.id):
        return Standing(config, "missing")
    try:
        run = store.load(config.id)
    except Replaceable:
        return Standing(config, "stale", store.damage(config.id))
    reason = moved(run)
    if run.recorded:
        return Standing(config, "recorded", reason)
    return Standing(config, "stale" if reason else "fresh", reason)


def to_do(standings: Iterable[Standing]) -> list[RunConfig]:
    """What a rebuild would run."""
    return [one.config for one in standings if one.state in ("stale", "missing")]


def rebuild_time(
    waiting: Sequence[RunConfig],
    finished: Sequence[Run],
    cores: int,
    share_of_profile: float,
    minutes: float,
) -> Estimate:
    """Time for ``waiting``, shared by as many of ``cores`` as a grid would use.

    A run takes the median of the finished runs that are alike (same task, backbone, method,
    setting and limits; else whatever task). If any has none, all is told from the ``minutes`` that
    the profile's file expects, of which ``share_of_profile`` is to be done.
    """
    if not waiting:
        return Estimate(0.0, "there is nothing to do")
    found = [_seconds(config, finished) for config in waiting]
    known = [seconds for seconds in found if seconds is not None]
    if len(known) == len(waiting):
        used = grid.workers(waiting, cores)
        where = f"on {used} cores" if used > 1 else "one after the other"
        return Estimate(sum(known) / used, f"measured: finished runs of the same kind, {where}")
    return Estimate(
        60 * minutes * share_of_profile,
        f"expected: the profile's file says {minutes:g} minutes for all, and "
        f"{len(waiting) - len(known)} runs have no finished run of their kind",
    )


def _seconds(config: RunConfig, finished: Sequence[Run]) -> float | None:
    """Median seconds of the runs most like ``config``, at its number of passes."""
    for fields in _ALIKE:
        wanted = [getattr(config, field) for field in fields]
        alike = [
            float(run.provenance["seconds"]) * _work(config) / _work(run.config)
            for run in finished
            if "seconds" in run.provenance
            and run.config.device == config.device
            and [getattr(run.config, field) for field in fields] == wanted
        ]
        if alike:
            return median(alike)
    return None


def _work(config: RunConfig) -> float:
    """Passes over the training data; the base setting makes none, whatever it is given."""
    return 1.0 if config.setting == "base" else config.passes


def table(standings: Sequence[Standing]) -> list[str]:
    """Counts by task, backbone and method, one line each, under a heading."""
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    for one in standings:
        backbone = one.config.backbone.partition("@")[0]
        about = (one.config.task, backbone, one.config.method)
        counts.setdefault(about, Counter())[one.state] += 1
    rows = [(*about, *(str(count[state]) for state in STATES)) for about, count in counts.items()]
    rows.append(("all", "", "", *(str(sum(c[s] for c in counts.values())) for s in STATES)))
    return aligned([("task", "backbone", "method", *STATES), *rows])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines of text with columns under one another."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def reasons(standings: Iterable[Standing]) -> list[str]:
    """Why runs are stale, or have moved since they were recorded, each reason once."""
    found = Counter((one.state, one.reason) for one in standings if one.reason)
    return [f"{count} {state}: {reason}." for (state, reason), count in sorted(found.items())]


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def status(profile: str) -> list[str]:
    """The lines that ``make status`` prints.

    Raises:
        FedbenchError: unknown profile, or a damaged run.
    """
    spec = profiles.read_spec(profile)
    standings = [standing(config) for config in grid.planned(profile)]
    waiting = to_do(standings)
    share = len(waiting) / len(standings)
    finished = list(store.finished()) if waiting else []
    estimate = rebuild_time(waiting, finished, grid.cores_here(), share, spec.minutes)
    return [
        *table(standings),
        *reasons(standings),
        f"Energy suite: {_energy(profile)}.",
        f"To be done: {len(waiting)} of {len(standings)} runs, in about "
        f"{duration(estimate.seconds)} ({estimate.source}).",
    ]


def _energy(profile: str) -> str:
    """Where the profile's energy suite stands."""
    if (spec := profiles.read_spec(profile).energy) is None:
        return "the profile has none"
    if (record := suite.found(profile)) is None:
        return "missing, make energy measures it"
    if record["moved"]:
        return "stale, because code or suite have moved: make energy measures anew"
    done, asked = len(record["measurements"]), spec.repeats * len(spec.methods) * len(TRAINED)
    return f"fresh, {done} of {asked} measured{'' if done == asked else ': make energy goes on'}"
