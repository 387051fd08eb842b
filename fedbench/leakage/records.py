"""Audits on disk: one JSON file per method and seed."""

from __future__ import annotations

from pathlib import Path

from fedbench.files import write_json
from fedbench.paths import CHECKOUT
from fedbench.records import Record, records_in

RECORDED = CHECKOUT / "data" / "leakage"
_FIELDS = frozenset(
    {"date", "method", "seed", "plan", "synthetic", "config", "findings", "inverted", "provenance"}
)


def write(record: Record, folder: Path = RECORDED) -> Path:
    """Write ``record`` under the name of its method and seed; return the file.

    Raises:
        FedbenchError: the folder cannot be written.
    """
    path = folder / f"{record['method']}_seed{record['seed']}.json"
    write_json(path, record)
    return path


def recorded(folder: Path = RECORDED) -> list[Record]:
    """Every recorded audit, by method in the order of their names, then by seed.

    Raises:
        FedbenchError: a file is damaged or is no record.
    """
    return sorted(
        records_in(folder, _FIELDS, "an audit of leaks"),
        key=lambda record: (str(record["method"]), int(record["seed"])),
    )
