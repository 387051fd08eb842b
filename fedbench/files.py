"""Writing files so that a reader sees the old content or the new one, never a part."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from fedbench.errors import FedbenchError


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step: temporary file, fsync, rename.

    Raises:
        FedbenchError: the disk is full or the folder cannot be written; the old file stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise FedbenchError(
            f"{path} could not be written ({error.strerror}): free the disk or make the folder "
            "writable, then start again; what was finished stays."
        ) from None


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON, atomically."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FedbenchError: it is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FedbenchError(f"{path} is missing.") from None
    except (ValueError, UnicodeDecodeError):
        raise FedbenchError(f"{path} is not valid JSON: remove it and start again.") from None
