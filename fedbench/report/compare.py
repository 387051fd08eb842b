"""Outputs held against a reference: the CSVs of a folder, cell by cell, with tolerances.

The same configuration gives the same bits on the same kind of machine. Elsewhere the last digits
of a sum differ, and training amplifies them: a run there is as another repeat, so a score may move
as far as the wider of both intervals says it may, or by two points, or two items, where that is
less. Counts, sizes and verdicts may not. What is compared is the CSVs, because everything else is
drawn from them.

Tables of energy are left out. They measure a machine: its seconds, joules and peak memory differ
from one afternoon to the next, and no tolerance tells a fault from another processor.
"""

from __future__ import annotations

import csv
import io
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from fedbench.errors import FedbenchError
from fedbench.paths import CHECKOUT
from fedbench.report.tables import SIGNIFICANT
from fedbench.report.writing import check_drawn

#: how far a score may always move on another machine, in fractions: two answers of a hundred
SCORES = 0.02
#: columns that print scores in %, as text, in the table that people read; elsewhere they hold
#: fractions
PRINTED = ("base", "local", "federated", "centralized")
_SCORES = (
    *("mean", *PRINTED, "accuracy", "right", "wrong", "all_sites", "without_site", "last", "best"),
    *("gain", "gain_over_base", "gain_over_local", "gain_over_centralized", "contribution"),
    *("fall", "greatest_fall", "standard_error", "worst", "range", "sd", "sd_by_chance"),
    *("update_spread", "update_spread_first"),
)
#: columns of scores, in fractions, and how far each may move, in widths of its interval: a mean
#: within it; the ends of an interval over few seeds as far as it is wide; and a smallest
#: difference, which is a multiple of that width, twice as far
TOLERANCES: Mapping[str, float] = {
    **dict.fromkeys(_SCORES, 0.5),
    **dict.fromkeys((name + end for name in _SCORES for end in ("_low", "_high")), 1.0),
    **dict.fromkeys(("ci_low", "ci_high", "blind", "least", "greatest"), 1.0),
    **dict.fromkeys(("found", "low", "high"), 1.0),
    **dict.fromkeys(("rank_correlation", "rank_low", "rank_high"), 1.0),
    **dict.fromkeys(("smallest_difference", "smallest_over_local", "smallest_over_centralized"), 2),
}
#: whose interval it is, where the column's own name does not begin that of the ends
_INTERVALS: Mapping[str, str] = {
    "rank_correlation": "rank",
    "smallest_difference": "gain",
    "smallest_over_local": "gain_over_local",
    "smallest_over_centralized": "gain_over_centralized",
}
#: ids of runs, which of two close intervals is the wider, and single seeds
IGNORED = frozenset({"runs", "ci_kind", "gain_kind", "per_seed", "gain_per_seed", "mcnemar"})
#: said where tables of energy are there
LEFT_OUT = (
    "Not compared: tables of energy. They measure a machine, so they differ from one to the next."
)
#: another site may be the worst one, which has another number of items
_OF_THE_WORST = ("accuracy_worst", "n_test")
_RELATIVE = 1e-5  #: of other numbers that are no whole ones: CSVs have six digits
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_COUNT = re.compile(r"-?\d+")

Table = list[dict[str, str]]


class Difference(NamedTuple):
    """One cell that is not what the reference has; ``row`` counts from 1."""

    table: str
    row: int
    column: str
    reference: str
    here: str


def compare(reference: Mapping[str, str], here: Mapping[str, str]) -> list[Difference]:
    """What differs between two folders, given as the text of each CSV by name."""
    return [
        difference
        for table in sorted({*reference, *here})
        if not of_a_machine(table)
        for difference in _compare_tables(table, reference.get(table), here.get(table))
    ]


def of_a_machine(table: str) -> bool:
    """Whether a table tells what a machine used, so that there is no reference for another."""
    return table.startswith("energy")


def _compare_tables(table: str, reference: str | None, here: str | None) -> Iterator[Difference]:
    if reference is None or here is None:
        yield Difference(table, 0, "", _there(reference), _there(here))
        return
    rows = zip_longest(parse(reference), parse(here))
    for number, (old, new) in enumerate(rows, start=1):
        if old is None or new is None:
            yield Difference(table, number, "", _there(old), _there(new))
            continue
        for column in dict.fromkeys([*old, *new]):
            before, after = old.get(column, "absent"), new.get(column, "absent")
            other_site = (old.get("metric", table), column) == _OF_THE_WORST
            if not other_site and not alike(column, before, after, *_room(column, old, new)):
                yield Difference(table, number, column, before, after)


def moved(reference: Mapping[str, str], here: Mapping[str, str]) -> int:
    """How many of the tables that both have are not the same, byte for byte."""
    both = (name for name in reference if name in here and not of_a_machine(name))
    return sum(reference[name] != here[name] for name in both)


def _room(column: str, old: Mapping[str, str], new: Mapping[str, str]) -> tuple[float, float]:
    """Width of the wider interval of two rows, 0 without one; and what a score may always move.

    The interval is the column's own, or that of the row.
    """
    items = max(_number(old, "n_validation"), _number(old, "n_test"))
    stem = column.removesuffix("_low").removesuffix("_high")
    own = _INTERVALS.get(stem, stem)
    name = own if f"{own}_low" in old else "ci"
    width = max(_number(row, f"{name}_high") - _number(row, f"{name}_low") for row in (old, new))
    return width, max(SCORES, 2 / items) if items else SCORES


def _number(row: Mapping[str, str], column: str) -> float:
    text = row.get(column, "")
    return float(text) if _NUMBER.fullmatch(text) else 0.0


def _there(value: object) -> str:
    return "absent" if value is None else "present"


def alike(
    column: str, reference: str, here: str, width: float = 0.0, least: float = SCORES
) -> bool:
    """Whether two values of a column are the same within its tolerance.

    A score may move by a multiple of ``width``, that of its interval, and always by ``least``.
    """
    if column in IGNORED or reference == here:
        return True
    if column in PRINTED and "[" in reference + here:
        same_words = _NUMBER.sub("", reference) == _NUMBER.sub("", here)
        return same_words and _printed_alike(_NUMBER.findall(reference), _NUMBER.findall(here))
    if not (_NUMBER.fullmatch(reference) and _NUMBER.fullmatch(here)):
        return False
    if column == "p" or column.startswith("p_"):
        return (float(reference) < SIGNIFICANT) == (float(here) < SIGNIFICANT)
    counts = _COUNT.fullmatch(reference) and _COUNT.fullmatch(here)
    exact = 0.0 if counts else _RELATIVE * abs(float(reference))
    most = tolerance(column, width, least) if column in TOLERANCES else exact
    return _near(reference, here, most)


def tolerance(column: str, width: float, least: float = SCORES) -> float:
    """How far a score may move, in fractions, beside an interval of this ``width``."""
    return max(least * max(1.0, TOLERANCES[column]), TOLERANCES[column] * width)


def _printed_alike(reference: Sequence[str], here: Sequence[str]) -> bool:
    """A mean in %, and the ends of its interval where it has one."""
    widths = [float(cell[2]) - float(cell[1]) for cell in (reference, here) if len(cell) > 2]
    width = max(widths, default=0.0)
    allowed = [max(100 * SCORES, share * width) for share in (0.5, 1.0, 1.0)]
    return len(reference) == len(here) and all(
        _near(before, after, most)
        for before, after, most in zip(reference, here, allowed, strict=False)
    )


def _near(reference: str, here: str, tolerance: float) -> bool:
    return abs(float(reference) - float(here)) <= tolerance + 1e-9


def parse(text: str) -> Table:
    """The rows of a CSV, each value as it stands there."""
    return list(csv.DictReader(io.StringIO(text)))


def show(differences: Sequence[Difference]) -> str:
    """All differences in one table."""
    rows: list[Sequence[str]] = [Difference._fields]
    rows += [[str(value) for value in one] for one in differences]
    widths = [max(len(row[place]) for row in rows) for place in range(len(Difference._fields))]
    return "\n".join(
        "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def of_folder(folder: Path) -> dict[str, str]:
    """The CSVs of a folder, by name.

    Raises:
        Damaged: a file is not what was drawn.
        FedbenchError: it has none.
    """
    check_drawn(folder)
    found = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.csv"))}
    if not found:
        raise FedbenchError(f"{folder} holds no CSV: draw its tables with make figures first.")
    return found


def of_commit(folder: str, commit: str = "HEAD") -> dict[str, str]:
    """The CSVs that ``folder`` of the repository has in a commit, by name.

    Raises:
        FedbenchError: git cannot say, or there are none.
    """
    listed = _git("ls-tree", "--name-only", commit, f"{folder}/").splitlines()
    names = [name for name in listed if name.endswith(".csv")]
    if not names:
        raise FedbenchError(
            f"{commit} holds no CSV in {folder}: name the folder to compare with (--reference)."
        )
    return {Path(name).stem: _git("show", f"{commit}:{name}") for name in names}


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise FedbenchError(
            f"git {' '.join(arguments)} failed: compare needs a checkout of the repository, or "
            "--reference FOLDER."
        ) from None
    return done.stdout.decode()
