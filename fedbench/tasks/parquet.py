"""Parquet tables, which unpack to far more than they take: sizes are known before any is unpacked.

A value that repeats is written once and referred to: a file of 60 kB may hold 20 GB of text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.limits import CELLS, DATA_BYTES


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet table.

    Raises:
        FedbenchError: the table is larger than :mod:`fedbench.limits` allows.
        pyarrow.ArrowException: this is no such table.
        OSError: the file is damaged or cannot be read.
    """
    from pyarrow import parquet

    with parquet.ParquetFile(path) as packed:
        _check(path, *_told(packed))
        texts = [c.path for c in packed.schema if c.physical_type == "BYTE_ARRAY"]
    rows: list[dict[str, Any]] = []
    unpacked = 0
    with parquet.ParquetFile(path, read_dictionary=texts) as packed:
        for number in range(packed.num_row_groups):  # of several, arrow reads no lists in this way
            part = packed.read_row_group(number)
            # What is referred to is held once here; in rows, it would be as often as it is named.
            unpacked += sum(_length(chunk) for column in part.columns for chunk in column.chunks)
            _check(path, 0, unpacked)
            rows += part.to_pylist()
    return rows


def _told(packed: Any) -> tuple[int, int]:
    """Values in all columns, and the bytes that these unpack to, as the file itself tells."""
    about = packed.metadata
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    columns = [(g.column(number), number) for g in groups for number in range(about.num_columns)]
    values = [(column.num_values, packed.schema.column(n).length) for column, n in columns]
    unpacked = sum(column.total_uncompressed_size for column, _ in columns)
    return sum(count for count, _ in values), unpacked + sum(n * max(0, w) for n, w in values)


def _length(array: Any) -> int:
    """Bytes of all texts of an array, each as often as it is referred to."""
    from pyarrow import compute, types

    kind = array.type
    if types.is_dictionary(kind):
        lengths = compute.binary_length(array.dictionary.cast("large_binary"))
        return compute.sum(lengths.take(array.indices)).as_py() or 0
    if types.is_struct(kind):
        return sum(map(_length, array.flatten()))
    if types.is_map(kind):
        return _length(array.keys) + _length(array.items)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _length(array.flatten())
    return int(array.nbytes)


def _check(path: Path, values: int, n_bytes: int) -> None:
    if values > CELLS or n_bytes > DATA_BYTES:
        told = f"{values:,} values" if values > CELLS else f"{n_bytes:,} bytes"
        most = f"{CELLS:,}" if values > CELLS else f"{DATA_BYTES:,}"
        raise FedbenchError(
            f"{path} unpacks to {told}, and {most} are the most that is read: split it, or leave "
            "out columns that are not needed."
        )
