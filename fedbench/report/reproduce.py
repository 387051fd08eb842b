"""One row of a table, from nothing: its runs are done again, and both numbers are shown.

The runs go into a home of their own, which is removed afterwards, so nothing that was computed
before has a part in the new number. One thing is taken from earlier runs: which site holds an item,
where a row scores a setting that knows no sites on the sites' own items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fedbench
from fedbench import grid
from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.paths import fresh_home
from fedbench.report.compare import parse, tolerance
from fedbench.report.differences import contrasts
from fedbench.report.inventory import convergence
from fedbench.report.scores import OWN, WORST
from fedbench.report.tables import main_results
from fedbench.report.writing import check_drawn
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = ("mean", "ci_low", "ci_high")
#: what tells the rows of a table apart
_KEYS = (
    *("task", "backbone", "method", "setting", "partition", "rule", "contrast", "metric", "round"),
)
#: which function draws a table, by the beginning of its name
_DRAWN: Mapping[str, Callable[[Sequence[Run]], pd.DataFrame]] = {
    "main_results": main_results,
    "contrasts": contrasts,
    "convergence": convergence,
}


@dataclass(frozen=True)
class Reproduced:
    """A row's numbers as the table has them, and as they came out again."""

    about: str
    then: Mapping[str, float]
    now: Mapping[str, float]

    @property
    def within(self) -> bool:
        """Whether every number is within the tolerance across machines."""
        sides = [side for side in (self.then, self.now) if {"ci_low", "ci_high"} <= {*side}]
        width = max((side["ci_high"] - side["ci_low"] for side in sides), default=0.0)
        moved = {name: abs(self.then[name] - self.now[name]) for name in self.then}
        return all(by <= tolerance(name, width) for name, by in moved.items())

    def __str__(self) -> str:
        head = f"{self.about}\n{'':8} {'table':>10} {'again':>10} {'difference':>10}"
        rows = [
            f"{n:8} {self.then[n]:10.6f} {self.now[n]:10.6f} {self.now[n] - self.then[n]:+10.6f}"
            for n in self.then
        ]
        return "\n".join([head, *rows])


def reproduce(
    profile: str,
    table: str,
    number: int,
    folder: Path,
    *,
    do: Callable[[RunConfig], Run] = lambda config: fedbench.run(config, again=True),
) -> Reproduced:
    """Do the runs behind row ``number`` (from 1) of ``table``.csv in ``folder`` again.

    Raises:
        FedbenchError: no such table or row, a row without runs, or runs that the profile does not
            plan.
    """
    draw, row = _drawn(table), _row(path_of(table, folder), number)
    configs = _configs(row, profile)
    others = _knowing_sites(row, profile)
    with fresh_home():
        done = []
        for place, config in enumerate(configs, start=1):
            about = f"{config.method}, {config.setting}, seed {config.seed}"
            print(f"run {place} of {len(configs)}: {about}", flush=True)
            done.append(do(config))
        again = _same_row(draw([*done, *others]), row)
    about = ", ".join(f"{key} {row[key]}" for key in _KEYS if row.get(key))
    given = [name for name in NUMBERS if row[name]]  # a single seed has no interval over seeds
    return Reproduced(about, *({n: float(each[n]) for n in given} for each in (row, again)))


def path_of(table: str, folder: Path) -> Path:
    """The CSV of a table, named with or without its ending."""
    return folder / f"{table.removesuffix('.csv')}.csv"


def row_number(path: Path, words: Sequence[str]) -> int:
    """The row of a table that has all ``words`` among what tells its rows apart, from 1.

    Raises:
        FedbenchError: no such table, or none or several such rows.
    """
    if len(words) == 1 and words[0].isdigit():
        return int(words[0])
    named = [{row[key] for key in _KEYS if row.get(key)} for row in _rows(path)]
    fitting = [number for number, known in enumerate(named, start=1) if known.issuperset(words)]
    if len(fitting) != 1:
        raise FedbenchError(
            f"{len(fitting)} rows of {path} have the words {', '.join(words)}: name one row by its "
            f"number, or by what it says under {', '.join(_KEYS)}."
        )
    return fitting[0]


def _drawn(table: str) -> Callable[[Sequence[Run]], pd.DataFrame]:
    for name, draw in _DRAWN.items():
        if table.startswith(name):
            return draw
    raise FedbenchError(
        f"The rows of {table} are not computed from single runs: "
        "use main_results, contrasts or convergence_final."
    )


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise FedbenchError(f"{path} does not exist: draw it with make figures first.")
    check_drawn(path.parent)
    return parse(path.read_text(encoding="utf-8"))


def _row(path: Path, number: int) -> dict[str, str]:
    rows = _rows(path)
    if not 1 <= number <= len(rows):
        raise FedbenchError(f"{path} has rows 1 to {len(rows)}: {number} is none of them.")
    return rows[number - 1]


def _configs(row: Mapping[str, str], profile: str) -> list[RunConfig]:
    """The configurations behind a row, in the order of its ids."""
    planned = {config.id: config for config in grid.planned(profile)}
    ids = row["runs"].split()
    if not ids:
        raise FedbenchError("This row says that nothing was run: make figures computes it first.")
    if unknown := [run_id for run_id in ids if run_id not in planned]:
        raise FedbenchError(
            f"Profile {profile} does not plan {len(unknown)} of the {len(ids)} runs of this row "
            f"(the first is {unknown[0]}): it has changed since the table was drawn, so draw it "
            "again with make figures, or check out the commit beside the table."
        )
    return [planned[run_id] for run_id in ids]


def _knowing_sites(row: Mapping[str, str], profile: str) -> list[Run]:
    """Runs that tell who holds each item, for a row whose own runs do not know."""
    own = row.get("metric") in (OWN, WORST) and row.get("setting") in ("base", "centralized")
    if not own:
        return []
    federated = [
        run
        for run in grid.found(profile)
        if (run.config.task, run.config.setting) == (row["task"], "federated")
    ]
    if not federated:
        raise FedbenchError(
            "This row needs runs that know which site holds an item: make figures computes them."
        )
    return federated


def _same_row(frame: pd.DataFrame, row: Mapping[str, str]) -> Mapping[Any, Any]:
    keys = [key for key in _KEYS if row.get(key) and key in frame]
    for found in frame.to_dict("records"):
        if all(_same(key, str(found[key]), row[key]) for key in keys):
            return found
    raise FedbenchError(
        "The runs of this row no longer give such a row: draw the table again with make figures."
    )


def _same(key: str, found: str, asked: str) -> bool:
    """Whether a key has the same value; a partition drawn alone is told without its sites."""
    return found == asked or (key == "partition" and asked.startswith(f"{found}, "))
