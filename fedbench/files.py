"""Writing files so that a reader sees the old content or the new one, never a part."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
from fedbench.errors import Damaged, FedbenchError, of_system, refused
from fedbench.limits import JSON_BYTES, YAML_BYTES, from_json, from_yaml, read_within

SEAL = "sha256"  #: the field in which a JSON file of ours carries the checksum of all others


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
        raise refused(path, error) from None


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
        raise refused(path, error) from None


def _write_all(opened: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(opened, left) :]


def append_bytes(path: Path, size: int, content: bytes) -> None:
    """Write ``content`` after the first ``size`` bytes of ``path``, in place of what stood there.

    Raises:
        FedbenchError: the disk is full or the file cannot be written; the first bytes stay.
    """
    try:
        make_folder(path.parent)
        opened = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.ftruncate(opened, size)
            os.lseek(opened, size, os.SEEK_SET)
            _write_all(opened, content)
            os.fsync(opened)
        finally:
            os.close(opened)
    except OSError as error:
        raise refused(path, error) from None


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON, atomically; an object carries the SHA-256 of the rest."""
    if isinstance(value, Mapping):
        plain = json.loads(json.dumps(value))  # keys as they will be read
        value = {**plain, SEAL: _seal_of(plain)}
    write_plain_json(path, value)


def write_plain_json(path: Path, value: Any) -> None:
    """Write ``value`` as programs other than ours read it, without a checksum, atomically."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file; the checksum that :func:`write_json` left in it is compared, and taken off.

    Raises:
        FedbenchError: it is missing.
        Damaged: it cannot be read, is not JSON, is not what was written, or is larger than any of
            ours.
    """
    try:
        content = from_json(read_within(path, JSON_BYTES).decode())
    except FileNotFoundError:
        raise FedbenchError(f"{path} is missing.") from None
    except (ValueError, OSError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise Damaged(f"{path} cannot be read as JSON ({reason}): restore it.") from None
    if not isinstance(content, dict) or SEAL not in content:
        return content
    seal = content.pop(SEAL)
    if seal != _seal_of(content):
        raise Damaged(
            f"{path} was changed by hand or damaged: restore it, with git checkout if the "
            "repository keeps it, or remove it and have it made again."
        )
    return content


def _seal_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds fields and values.

    Raises:
        FedbenchError: it is missing, is not such a file, or is larger or unfolds to more than any
            of ours.
    """
    try:
        text = read_within(path, YAML_BYTES).decode()
        found = from_yaml(text)
        if "\\ud" in text.lower():  # half of a character, which has no bytes
            json.dumps(found, ensure_ascii=False, default=str, skipkeys=True).encode()
    except FileNotFoundError:
        raise FedbenchError(f"{path} does not exist: check the path.") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise FedbenchError(f"{path} cannot be read as YAML ({reason}): correct it.") from None
    if not isinstance(found, dict):
        raise FedbenchError(f"{path} must hold fields and values, such as task: fpb.")
    return found


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
        raise refused(folder, error) from None


@contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Put in a sentence what the disk refuses inside the block, about its own path or ``path``.

    Raises:
        Refused: it did. Other errors, of a file that is missing for example, pass.
    """
    try:
        yield
    except OSError as error:
        if (sentence := of_system(error, path)) is None:
            raise
        raise sentence from None


def private_folder(folder: Path) -> None:
    """Make a folder that only its owner can look into.

    Raises:
        FedbenchError: it cannot be made.
    """
    with on_disk(folder):
        make_folder(folder)
        folder.chmod(0o700)
