"""Records on disk: one JSON file per version, and the versions before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json

Record = Mapping[str, Any]

RECORDED = Path("data/bench")  #: in the checkout
_FIELDS = frozenset({"date", "provenance", "peak_flops", "steps", "rounds", "alone", "start_up"})


def version(record: Record) -> str:
    """Date and commit by which a record is named; marked where files differed from the commit."""
    origin = record["provenance"]
    changed = "-changed" if origin["dirty"] else ""
    return f"{record['date'][:10]}-{origin['commit'][:7]}{changed}"


def write(record: Record, folder: Path) -> Path:
    """Write ``record`` under its version's name; return the file.

    Raises:
        FedbenchError: the folder cannot be written.
    """
    path = folder / f"{version(record)}.json"
    write_json(path, record)
    return path


def recorded(folder: Path = RECORDED) -> list[Record]:
    """Every recorded version, the oldest first.

    Raises:
        FedbenchError: a file is damaged or is no record.
    """
    return sorted(_read(folder), key=lambda record: str(record["date"]))


def _read(folder: Path) -> Iterator[Record]:
    for path in sorted(folder.glob("*.json")):
        record = read_json(path)
        if not isinstance(record, dict) or _FIELDS - record.keys():
            raise FedbenchError(f"{path} is no record of a benchmark: restore or remove it.")
        yield record
