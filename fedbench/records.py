"""Measurements that the repository keeps, one JSON file each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.files import read_json

Record = Mapping[str, Any]


def records_in(folder: Path, fields: Collection[str], measured: str) -> Iterator[Record]:
    """Every record of ``folder``, in the order of file names; none if there is no folder.

    Args:
        folder: of JSON files.
        fields: which every record must have.
        measured: what they are records of, for people.

    Raises:
        FedbenchError: a file is damaged or is no such record.
    """
    for path in sorted(folder.glob("*.json")):
        record = read_json(path)
        if not isinstance(record, dict) or set(fields) - record.keys():
            raise FedbenchError(f"{path} is no record of {measured}: restore or remove it.")
        yield record
