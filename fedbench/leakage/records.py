"""Audits on disk: one JSON file per method and seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json
from fedbench.paths import CHECKOUT

Record = Mapping[str, Any]

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
    return sorted(_read(folder), key=lambda record: (str(record["method"]), int(record["seed"])))


def _read(folder: Path) -> Iterator[Record]:
    for path in sorted(folder.glob("*.json")):
        record = read_json(path)
        if not isinstance(record, dict) or _FIELDS - record.keys():
            raise FedbenchError(f"{path} is no record of an audit of leaks: restore or remove it.")
        yield record
