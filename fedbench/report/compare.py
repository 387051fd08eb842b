"""Outputs held against a reference: the CSVs of a folder, cell by cell, with tolerances.

The same configuration gives the same bits on the same kind of machine. Elsewhere the last digits
of a logit differ, so an item close to a tie may be answered otherwise: scores may move a little,
counts may not. What is compared is the CSVs, because everything else is drawn from them.

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

#: how far a score may move on another machine, in fractions: two answers of a hundred
SCORES = 0.02
#: columns of scores, in fractions, and how far each may move. A smallest difference is a multiple
#: of the width of its interval, whose two ends may move.
TOLERANCES: Mapping[str, float] = {
    **dict.fromkeys(("mean", "ci_low", "ci_high", "blind", "least", "greatest"), SCORES),
    **dict.fromkeys(("found", "low", "high"), SCORES),
    "smallest_difference": 2 * SCORES,
}
#: the same, of columns that print scores in %, as text
PRINTED = ("base", "local", "federated", "centralized")
#: ids of runs, and which of two close intervals is the wider
IGNORED = frozenset({"runs", "ci_kind", "per_seed", "mcnemar"})
#: said where tables of energy are there
LEFT_OUT = (
    "Not compared: tables of energy. They measure a machine, so they differ from one to the next."
)
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
            if not alike(column, before, after):
                yield Difference(table, number, column, before, after)


def _there(value: object) -> str:
    return "absent" if value is None else "present"


def alike(column: str, reference: str, here: str) -> bool:
    """Whether two values of a column are the same within its tolerance."""
    if column in IGNORED or reference == here:
        return True
    if column in PRINTED:
        same_words = _NUMBER.sub("", reference) == _NUMBER.sub("", here)
        pairs = zip(_NUMBER.findall(reference), _NUMBER.findall(here), strict=False)
        return same_words and all(_near(*pair, 100 * SCORES) for pair in pairs)
    if not (_NUMBER.fullmatch(reference) and _NUMBER.fullmatch(here)):
        return False
    if column.startswith("p_"):
        return (float(reference) < SIGNIFICANT) == (float(here) < SIGNIFICANT)
    counts = _COUNT.fullmatch(reference) and _COUNT.fullmatch(here)
    exact = 0.0 if counts else _RELATIVE * abs(float(reference))
    return _near(reference, here, TOLERANCES.get(column, exact))


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
        FedbenchError: it has none.
    """
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
