"""Writing files so that a reader sees the old content or the new one, never a part."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from fedbench.durable import (
    make_folder,
    replace,
    sweep,
    sync,
    temporaries_of,
    temporary_file,
    temporary_folder,
)
from fedbench.errors import FedbenchError


def write_bytes(path: Path, content: bytes, *, secret: bool = False) -> None:
    """Replace ``path`` by ``content`` in one step: temporary file, fsync, rename.

    A ``secret`` can be read by its owner alone, from the first byte on.

    Raises:
        FedbenchError: the disk is full or the folder cannot be written; the old file stays.
    """
    try:
        make_folder(path.parent)
        with temporary_file(path, 0o600 if secret else 0o666) as (temporary, opened):
            _write_all(opened, content)
            os.fsync(opened)
            os.replace(temporary, path)
            sync(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from None


def spool_bytes(path: Path, content: bytes) -> None:
    """Write what this very process will read and nobody after it: nothing outlasts its end.

    Raises:
        FedbenchError: the disk is full or the folder cannot be written.
    """
    try:
        make_folder(path.parent)
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            _write_all(opened, content)
        finally:
            os.close(opened)
    except OSError as error:
        raise _unwritable(path, error) from None


def _write_all(opened: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(opened, left) :]


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file ``path``, which is created once and never replaced, inside the block.

    Raises:
        FedbenchError: the disk is full, the folder cannot be written, or, without ``wait``,
            another process holds the lock.
    """
    lock = FileLock(path, blocking=wait)
    try:
        make_folder(path.parent)
        lock.acquire()
    except Timeout:
        raise FedbenchError(f"Another process already works on {path}: wait for it.") from None
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def machine_shared() -> Iterator[None]:
    """Compute beside others inside the block; waits while somebody has the machine alone."""
    with _machine(alone=False):
        yield


@contextmanager
def machine_alone() -> Iterator[None]:
    """Have the machine to oneself, as far as fedbench goes, inside the block.

    Raises:
        FedbenchError: other runs of this user are under way.
    """
    try:
        with _machine(alone=True):
            yield
    except BlockingIOError:
        raise FedbenchError(
            "Other runs are under way on this machine, and a meter would count them too: "
            "wait for them, then start again."
        ) from None


@contextmanager
def _machine(alone: bool) -> Iterator[None]:
    """Hold this user's lock on the machine; where the system has no such locks, hold nothing."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    path = Path(tempfile.gettempdir()) / f"fedbench-{os.getuid()}.lock"
    try:
        opened = path.open("a", encoding="ascii")
    except OSError as error:
        raise _unwritable(path, error) from None
    with opened as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        yield


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
        make_folder(folder.parent)
        sweep(temporaries_of(folder))
        with temporary_folder(folder) as draft:
            yield draft
            replace(draft, folder)
    except (OSError, SafetensorError) as error:
        raise _unwritable(folder, error) from None


def _unwritable(path: Path, error: Exception) -> FedbenchError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return FedbenchError(
        f"{path} could not be written ({reason}): free the disk or make the folder "
        "writable, then start again; what was finished stays."
    )
