"""Files that are either whole or absent, however the process ends."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedbench.pretraining.errors import PretrainingError


def write_bytes(path: Path, content: bytes) -> None:
    """Write to a temporary neighbour, flush it to disk and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write readable JSON atomically."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def held_alone(path: Path) -> Iterator[None]:
    """Hold a lock file, so that no second process writes to the same run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PretrainingError(f"Another process already works on {path.parent}.") from None
        yield
