"""Items of runs by column, quick to read and to count by: names as codes, the rest as numbers.

A data frame does all this and more, but takes longer to set up than these items take to count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedbench.errors import FedbenchError

Rows = npt.NDArray[Any] | slice  #: places of rows, one truth per row, or a range

NAMES = ("item", "cluster", "adapter", "site")
NUMBERS = ("choices", "gold", "prediction", "blind", "majority", "generated")


@dataclass(frozen=True, eq=False)
class Names:
    """A column of names: all that occur, each once, and which of them stands in each row."""

    each: Sequence[str]
    codes: npt.NDArray[np.int64]  #: [rows], places in ``each``

    def among(self, known: Sequence[str]) -> npt.NDArray[np.int64]:
        """Where the name of each row stands among ``known``; -1 where it does not."""
        place = {name: at for at, name in enumerate(known)}
        places = np.array([place.get(name, -1) for name in self.each], dtype=np.int64)
        return places[self.codes]

    def of(self, rows: Rows) -> Names:
        """Those rows, with the names that occur in them."""
        used, codes = np.unique(self.codes[rows], return_inverse=True)
        return Names([self.each[code] for code in used.tolist()], codes)


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns of equal length: of names, and of numbers, ``nan`` where there is none."""

    names: Mapping[str, Names]
    numbers: Mapping[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.names.values())).codes)

    def of(self, rows: Rows) -> Columns:
        """Those rows."""
        return Columns(
            {name: column.of(rows) for name, column in self.names.items()},
            {name: column[rows] for name, column in self.numbers.items()},
        )


def read_columns(path: Path, content: bytes, *more: str) -> Columns:
    """The items in the ``content`` of a parquet file, without their scores.

    Args:
        path: of the file, for people.
        content: of it.
        more: further columns of names.

    Raises:
        FedbenchError: the file is damaged, or lacks a column.
    """
    from pyarrow import ArrowException, BufferReader, parquet

    names = [*NAMES, *more]
    try:
        read = parquet.ParquetFile(BufferReader(content), read_dictionary=names)
        table = read.read([*names, *NUMBERS])
    except (ArrowException, OSError) as error:
        raise _unreadable(path, " ".join(str(error).split())[:100]) from None
    if absent := sorted({*names, *NUMBERS} - {*table.column_names}):
        raise _unreadable(path, f"it has no column {absent[0]}")
    return Columns(
        {name: _names(table[name]) for name in names},
        {name: _numbers(table[name].combine_chunks()) for name in NUMBERS},
    )


def _unreadable(path: Path, why: str) -> FedbenchError:
    return FedbenchError(
        f"The items in {path} cannot be read ({why}): restore the file with git checkout, or "
        "remove its folder to do the run again."
    )


def _names(column: Any) -> Names:
    """A column of arrow's dictionaries, which may be one per chunk."""
    whole = column.unify_dictionaries().combine_chunks()
    return Names(whole.dictionary.to_pylist(), _numbers(whole.indices).astype(np.int64))


def _numbers(column: Any) -> npt.NDArray[Any]:
    """An array of arrow's as one of numpy's, by a way that does not import pandas."""
    if not column.null_count:
        return np.from_dlpack(column)
    there = np.from_dlpack(column.is_valid().cast("uint8")).astype(bool)
    found = np.full(len(column), np.nan)
    found[there] = np.from_dlpack(column.drop_null())
    return found


def ranges(column: Names) -> dict[str, slice]:
    """The rows of each name of a column in which equal names stand together."""
    bounds = [0, *(np.flatnonzero(np.diff(column.codes)) + 1).tolist(), len(column.codes)]
    return {column.each[column.codes[a]]: slice(a, b) for a, b in pairwise(bounds)}


def all_names(columns: Iterable[Names]) -> list[str]:
    """Every name of some columns, sorted."""
    return sorted(set().union(*(column.each for column in columns)))
