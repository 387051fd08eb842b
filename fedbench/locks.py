"""Locks between processes, of one machine or of several that share a folder.

A lock that the system gives (``flock``) ends with its process, however that ends, so none of them
is ever stale; the file that carries it stays and says, for people, who holds it. Where a file
system has no such locks, or keeps them to each machine, a marker beside that file is the lock: it
names its process, when that began and its machine; found dead on that machine, it is taken over.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from fedbench.durable import make_folder, temporary_file
from fedbench.errors import FedbenchError, refused

DATA_LOCK = ".lock"  #: in the folder ``data``, held while what the repository keeps is written
_LOG = logging.getLogger("fedbench")
_MARKER = ".held"  #: appended to the name of a lock file: the lock itself, where there is no flock
_TRIES = 100  #: to have a lock whose folder somebody removes meanwhile
_ABSENT = (errno.ENOSYS, errno.EOPNOTSUPP)  #: a file system that has no flock
#: Options of a mount whose locks other machines do not see, by the beginning of its type.
_OF_ONE_MACHINE = {
    "nfs": ("nolock", "local_lock=all", "local_lock=flock"),
    "lustre": ("localflock",),
    "cifs": ("nobrl",),
    "fuse.sshfs": ("",),
}


class Busy(FedbenchError):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of the file ``path`` inside the block; who waits says for whom, once.

    Raises:
        Busy: without ``wait``, another process holds the lock.
        FedbenchError: the disk is full, or the folder cannot be written or has no locks.
    """
    lock = _acquired(path, wait)
    try:
        _note(path, f"{os.getpid()}\n{socket.gethostname()}\n")
        yield
    finally:
        _note(path, "")
        lock.release()


def is_held(path: Path) -> bool:
    """Whether another process holds the lock of the file ``path`` just now."""
    if not any(one.exists() for one in (path, path.with_name(path.name + _MARKER))):
        return False
    try:
        with locked(path, wait=False):
            return False
    except Busy:
        return True
    except FedbenchError:  # whoever cannot write here is told so when that is needed
        return False


def holder(path: Path) -> str:
    """Who holds the lock of the file ``path``, as people are told."""
    for kept in (path.with_name(path.name + _MARKER), path):
        with suppress(OSError, ValueError):
            pid, host, *_ = kept.read_text(encoding="utf-8").splitlines()
            since = time.strftime("%d %B %H:%M", time.localtime(kept.stat().st_mtime))
            ended = f" (if that has ended, remove {kept})" if kept != path else ""
            return f"process {int(pid)} on {host}, since {since}{ended}"
    return "another process"


def _acquired(path: Path, wait: bool) -> BaseFileLock:
    try:
        for _ in range(_TRIES):
            with suppress(FileNotFoundError):  # who tidies up removed its folder just before
                return _acquired_once(path, wait)
        return _acquired_once(path, wait)
    except OSError as error:
        if error.errno == errno.ENOLCK:
            raise FedbenchError(
                f"{path} cannot be locked, because the lock service of its file system does not "
                "answer: let FEDBENCH_HOME name a folder on another one."
            ) from None
        raise refused(path, error) from None


def _acquired_once(path: Path, wait: bool) -> BaseFileLock:
    make_folder(path.parent)
    lock = _lock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if not wait:
            raise Busy(f"Another process works on {path}: {holder(path)}.") from None
        _LOG.warning("%s is held: waiting for %s.", path, holder(path))
        lock.acquire()
    return lock


def _lock(path: Path) -> BaseFileLock:
    if _has_flock(path.parent.resolve()):
        return FileLock(path, fallback_to_soft=False)
    return SoftFileLock(path.with_name(path.name + _MARKER))


def _note(path: Path, text: str) -> None:
    """Tell people who read the file; a full disk is no reason not to have the lock."""
    with suppress(OSError):
        opened = os.open(path, os.O_WRONLY | os.O_TRUNC)  # where gc removed it, it stays removed
        try:
            os.write(opened, text.encode())
        finally:
            os.close(opened)


@lru_cache(maxsize=256)
def _has_flock(folder: Path) -> bool:
    """Whether locks of the system hold here, between all who see this folder.

    Raises:
        OSError: the folder cannot be written.
    """
    try:
        import fcntl
    except ImportError:
        return False
    with suppress(OSError):
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
        if _are_of_one_machine(folder, mounts):
            return False
    with temporary_file(folder / "flock", 0o600) as (first, _):
        second = os.open(first, os.O_RDWR)  # NFS locks for one alone only what that one may write
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
        finally:
            os.close(second)
            first.unlink()
    return False  # there is none, or it keeps nobody out


def _are_of_one_machine(folder: Path, mounts: Iterable[str]) -> bool:
    """Whether the mount that ``folder`` lies on keeps its locks to this machine.

    Args:
        folder: an absolute path.
        mounts: lines of ``/proc/mounts``.
    """
    fields = [line.split() for line in mounts]
    over = [f for f in fields if len(f) > 3 and folder.is_relative_to(f[1].replace("\\040", " "))]
    if not over:
        return False
    _, _, kind, options, *_ = max(over, key=lambda found: len(found[1]))
    told = {"", *options.split(",")}
    return any(
        kind.startswith(type_) and told & set(local) for type_, local in _OF_ONE_MACHINE.items()
    )


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
        raise refused(path, error) from None
    with opened as handle:
        try:
            fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            if alone:
                raise
            _LOG.warning("Energy is measured on this machine, which must be still: waiting for it.")
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield
