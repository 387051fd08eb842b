"""What outlasts a loss of power, and what writers that were killed leave behind.

A file is written under a temporary name, ``.NAME.`` and sixteen hexadecimal digits, which its
writer holds by a lock of the system (``flock``) until it has its own name. The lock ends with the
process, however that ends: a temporary that nobody holds is rubbish, and can be swept away.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}", re.DOTALL)


@contextmanager
def temporary_file(path: Path, mode: int) -> Iterator[tuple[Path, int]]:
    """A new file beside ``path`` and its open descriptor, held inside the block.

    Whoever ends the block well has renamed it; it is removed if the block ends with an error.
    """
    while True:
        temporary = _beside(path)
        opened = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        if _held(temporary, opened):
            break
    try:
        yield temporary, opened
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(opened)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """A new folder beside ``path``, held inside the block and treated like a temporary file."""
    while True:
        temporary = _beside(path)
        temporary.mkdir()
        opened = os.open(temporary, os.O_RDONLY)
        if _held(temporary, opened):
            break
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(opened)


def sweep(found: Iterable[Path]) -> None:
    """Remove those of ``found`` that are temporaries of killed writers; what is held stays.

    A temporary that cannot be held or removed stays, too: it is rubbish and in nobody's way.
    """
    for path in [path for path in found if _TEMPORARY.fullmatch(path.name)]:
        with suppress(OSError), _abandoned(path) as abandoned:
            if abandoned:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def left_behind(found: Iterable[Path]) -> Iterator[Path]:
    """What :func:`sweep` would remove of ``found``."""
    for path in found:
        if _TEMPORARY.fullmatch(path.name):
            with suppress(OSError), _abandoned(path) as abandoned:
                if abandoned:
                    yield path


@contextmanager
def _abandoned(path: Path) -> Iterator[bool]:
    """Whether nobody holds a temporary, which is held inside the block."""
    # To lock a file of NFS for itself alone, a process must be able to write it.
    opened = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        yield _hold(opened, wait=False)
    finally:
        os.close(opened)


def temporaries_of(path: Path) -> Iterator[Path]:
    """Temporaries of all who ever wrote ``path`` and did not end, dead or alive."""
    return path.parent.glob(f".{path.name}.*")


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, so that they outlast a loss of power; it may be there.

    Raises:
        OSError: it cannot be made.
    """
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
        return
    except FileNotFoundError:
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
    sync(folder.parent)


def remove(path: Path) -> None:
    """Remove a file, if it is there, so that it stays removed."""
    with suppress(FileNotFoundError):
        path.unlink()
        sync(path.parent)


def replace(old: Path, new: Path) -> None:
    """Give a file, or a folder with all that is in it, another name once it is on the disk."""
    for path in [*old.rglob("*"), old]:
        sync(path)
    old.replace(new)
    sync(new.parent)


def sync(path: Path) -> None:
    """Write a file to the disk; of a folder, which names are in it."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        # Some file systems cannot sync a folder: then nobody can.
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def _held(temporary: Path, opened: int) -> bool:
    """Hold what was just made; False, with nothing left open, if it was swept away before that."""
    _hold(opened, wait=True)
    if temporary.exists():
        return True
    os.close(opened)
    return False


def _hold(opened: int, *, wait: bool) -> bool:
    """Take the system's lock of an open file; False if another has it, or there is no such lock."""
    try:
        import fcntl

        fcntl.flock(opened, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True
