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
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from fedbench.errors import FedbenchError

#: what PyYAML lets through of a value that is not what its tag says, such as 2020-13-45
ODD_YAML = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


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
        raise _unwritable(path, error) from None


def _sync(folder: Path) -> None:
    """Make a rename in a folder outlast a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file ``path``, which is created once and never replaced, inside the block.

    Raises:
        FedbenchError: the disk is full, the folder cannot be written, or, without ``wait``,
            another process holds the lock.
    """
    lock = FileLock(path, blocking=wait)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
    except (ValueError, OSError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise FedbenchError(f"{path} cannot be read as JSON ({reason}): restore it.") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds fields and values.

    Raises:
        FedbenchError: it is missing, or is not such a file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
        if "\\ud" in text.lower():  # half of a character, which has no bytes
            json.dumps(content, ensure_ascii=False, default=str, skipkeys=True).encode()
    except FileNotFoundError:
        raise FedbenchError(f"{path} does not exist: check the path.") from None
    except (OSError, yaml.YAMLError, *ODD_YAML) as error:
        reason = " ".join(str(error).split())[:300]
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
        raise _unwritable(folder, error) from None


def _unwritable(path: Path, error: Exception) -> FedbenchError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return FedbenchError(
        f"{path} could not be written ({reason}): free the disk or make the folder "
        "writable, then start again; what was finished stays."
    )
