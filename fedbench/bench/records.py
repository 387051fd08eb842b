"""Records on disk: one JSON file per version, and the versions before it."""

from __future__ import annotations

from pathlib import Path

from fedbench.files import write_json
from fedbench.records import Record, records_in

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
    return sorted(
        records_in(folder, _FIELDS, "a benchmark"), key=lambda record: str(record["date"])
    )
