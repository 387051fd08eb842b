"""From a record to rows: every ratio with its spread, its target, and whether that is met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fedbench.bench.alone import FLOWER
from fedbench.bench.pairs import Spread, ratios, spread
from fedbench.bench.sides import OURS, OURS_WET, PLAIN, TRAINER
from fedbench.bench.targets import (
    ALONE_MEMORY,
    ALONE_STEPS,
    ALONE_TIME,
    ALONE_USER,
    HELP,
    ROUND,
    ROUND_STEPS,
    STEP,
    target_of,
    verdict,
)

if TYPE_CHECKING:
    import pandas as pd

Record = Mapping[str, Any]
_MB = 1e6


@dataclass(frozen=True)
class Row:
    """One number of a record; ``target`` is the greatest value asked for, if one is."""

    quantity: str
    size: str
    shape: str
    unit: str
    median: float
    lowest: float
    highest: float
    n: int
    target: float | None
    verdict: str


def rows(record: Record) -> list[Row]:
    """Everything that a record says, as rows."""
    return [
        *(row for one in record["steps"] for row in _of_steps(one, record["peak_flops"])),
        *(row for one in record["rounds"] for row in _of_rounds(one)),
        *_of_processes(record["alone"]),
        *_of_start_up(record["start_up"]),
    ]


def frame(record: Record) -> pd.DataFrame:
    """The rows as a table."""
    import pandas as pd

    return pd.DataFrame([asdict(row) for row in rows(record)])


def _of_steps(one: Mapping[str, Any], peak: float) -> Iterator[Row]:
    where = (one["size"], one["shape"])
    seconds = one["seconds"]
    for peer in sorted(seconds.keys() - {OURS, OURS_WET}):
        yield _row(f"{STEP} / {peer}", where, "", ratios(seconds[OURS], seconds[peer]))
    if OURS_WET in seconds:
        both = ratios(seconds[OURS_WET], seconds[PLAIN])
        yield _row(f"{STEP} / {PLAIN}, same dropout in both", where, "", both)
    for name in sorted(seconds):
        each = [1000 * value / one["steps"] for value in seconds[name]]
        yield _row(f"{STEP}, {name}", where, "ms", spread(each))
    used = [one["flops"] / value / peak for value in seconds[OURS]]
    yield _row("share of the matrix-product peak", where, "", spread(used))


def _of_rounds(one: Mapping[str, Any]) -> Iterator[Row]:
    where = (one["size"], one["shape"])
    seconds = one["seconds"]
    yield _row(ROUND_STEPS, where, "", ratios(seconds[OURS], one["training_seconds"]))
    for peer in sorted(seconds.keys() - {OURS}):
        yield _row(f"{ROUND} / {peer}", where, "", ratios(seconds[OURS], seconds[peer]))
    for name in sorted(seconds):
        yield _row(f"{ROUND}, {name}", where, "s", spread(seconds[name]))
    for way in ("down", "up"):
        per_site = one[f"bytes_{way}"] / one["cohort"] / _MB
        yield _row(f"wire, {way} per site", where, "MB", spread([per_site]))


def _of_processes(every: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    there = {one["who"]: one for one in every if "missing" not in one}
    for one in every:
        where = (one["size"], one["shape"])
        if "missing" in one:
            yield _absent(f"{ALONE_TIME} / {one['who']}", where, one["missing"])
            yield _absent(f"{ALONE_MEMORY} / {one['who']}", where, one["missing"])
            continue
        yield _row(f"{ALONE_TIME}, {one['who']}", where, "s", spread([one["seconds"]]))
        user = spread([one["user_seconds"]])
        yield _row(f"{ALONE_USER}, {one['who']}", where, "s", user)
        yield _row(f"{ALONE_STEPS}, {one['who']}", where, "", spread([one["steps"]]))
        memory = spread([one["peak_bytes"] / _MB])
        yield _row(f"{ALONE_MEMORY}, {one['who']}", where, "MB", memory)
    for who in there.keys() & {PLAIN, TRAINER, FLOWER}:
        yield from _beside(there[OURS], there[who])


def _beside(ours: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Row]:
    """Time only where both did the same rounds; memory does not grow with their number."""
    where = (ours["size"], ours["shape"])
    if ours["rounds"] == other["rounds"]:
        time = ratios([ours["seconds"]], [other["seconds"]])
        yield _row(f"{ALONE_TIME} / {other['who']}", where, "", time)
    memory = ratios([ours["peak_bytes"]], [other["peak_bytes"]])
    yield _row(f"{ALONE_MEMORY} / {other['who']}", where, "", memory)


def _of_start_up(seconds: Mapping[str, Sequence[float]]) -> Iterator[Row]:
    for name, values in seconds.items():
        quantity = HELP if name == "help" else f"start-up, {name}"
        yield _row(quantity, ("", ""), "s", spread(values))


def _row(quantity: str, where: tuple[str, str], unit: str, value: Spread) -> Row:
    size, shape = where
    most = target_of(quantity, shape)
    said = verdict(value.median, most)
    return Row(
        quantity, size, shape, unit, value.median, value.lowest, value.highest, value.n, most, said
    )


def _absent(quantity: str, where: tuple[str, str], why: str) -> Row:
    nan = float("nan")
    size, shape = where
    return Row(quantity, size, shape, "", nan, nan, nan, 0, target_of(quantity, shape), why)
