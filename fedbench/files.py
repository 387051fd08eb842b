"""Writing files so that a reader sees the old content or the new one, never a part."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError

from fedbench.errors import FedbenchError


def write_bytes(path: Path, content: bytes, *, secret: bool = False) -> None:
    """Replace ``path`` by ``content`` in one step: temporary file, fsync, rename.

    A ``secret`` can be read by its owner alone, from the first byte on.

    Raises:
        FedbenchError: the disk is full or the folder cannot be written; the old file stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            mode = 0o600 if secret else 0o666
            made = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(made, "wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, path)
            _sync(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise unwritable(path, error) from None


def append_bytes(path: Path, size: int, content: bytes) -> None:
    """Write ``content`` after the first ``size`` bytes of ``path``, in place of what stood there.

    Raises:
        FedbenchError: the disk is full or the file cannot be written; the first bytes stay.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb") as handle:
            handle.truncate(size)
            handle.seek(size)
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        raise unwritable(path, error) from None


def _sync(folder: Path) -> None:
    """Make a rename in a folder outlast a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON, atomically."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FedbenchError: it is missing, cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FedbenchError(f"{path} is missing.") from None
    except (ValueError, OSError) as error:
        raise FedbenchError(f"{path} cannot be read as JSON ({error}): restore it.") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds fields and values.

    Raises:
        FedbenchError: it is missing, or is not such a file.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FedbenchError(f"{path} does not exist: check the path.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise FedbenchError(f"{path} cannot be read as YAML ({reason}): correct it.") from None
    if not isinstance(content, dict):
        raise FedbenchError(f"{path} must hold fields and values, such as task: fpb.")
    return content


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A draft to fill, which becomes ``folder`` as a whole when the block ends well.

    Raises:
        FedbenchError: the disk is full or the place cannot be written; ``folder`` is not there.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
            draft = Path(scratch) / folder.name
            draft.mkdir()
            yield draft
            draft.rename(folder)
    except (OSError, SafetensorError) as error:
        raise unwritable(folder, error) from None


def unwritable(path: Path, error: Exception) -> FedbenchError:
    """What to tell of a ``path`` that could not be written."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return FedbenchError(
        f"{path} could not be written ({reason}): free the disk or make the folder "
        "writable, then start again; what was finished stays."
    )
