"""The log of a federation on disk: a line per round, appended and never written again.

A checkpoint refers to it by a mark. What stands after the mark, because a process was stopped
between both, is overwritten. So a round costs the same, however many came before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fedbench.files import append_bytes
from fedbench.snapshots import damaged


class Mark(NamedTuple):
    """How far a log reaches, and what it says up to there."""

    size: int = 0  #: bytes
    seal: str = ""  #: hash of the last line and the seal of those before it


def as_mark(found: Any) -> Mark | None:
    """The mark that a checkpoint holds; None if what it holds is none."""
    match found:
        case [int(size), str(seal)] if size >= 0:
            return Mark(size, seal)
    return None


def appended(path: Path, mark: Mark, record: Mapping[str, Any]) -> Mark:
    """Write a round's record after ``mark``; return the mark that includes it.

    Raises:
        FedbenchError: the disk is full or the file cannot be written; what stood before ``mark``
            stays.
    """
    line = json.dumps(record, sort_keys=True).encode() + b"\n"
    append_bytes(path, mark.size, line)
    return Mark(mark.size + len(line), _sealed(mark.seal, line))


def read_log(path: Path, mark: Mark) -> list[dict[str, Any]]:
    """The records up to ``mark``.

    Raises:
        Replaceable: the file is missing, or not what was written.
    """
    try:
        with path.open("rb") as handle:
            lines = handle.read(mark.size).splitlines(keepends=True)
    except FileNotFoundError:
        lines = []
    found = Mark()
    for line in lines:
        found = Mark(found.size + len(line), _sealed(found.seal, line))
    if found != mark:
        raise damaged(path)
    return [json.loads(line) for line in lines]


def _sealed(before: str, line: bytes) -> str:
    return hashlib.sha256(before.encode() + line).hexdigest()
