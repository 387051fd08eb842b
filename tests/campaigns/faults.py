"""A disk that fails: at the n-th operation that would change a file below a folder.

Operations are seen where Python hands them to the system, by its audit events (opening for writing,
making, renaming and removing), and, of the files that fedbench writes itself, also each write and
each fsync. Nothing of the code under test is replaced.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: how a disk fails, by name: the error, and whether everything after it fails, too
KINDS = {
    "full": (errno.ENOSPC, True),
    "read-only": (errno.EROFS, True),
    "forbidden": (errno.EACCES, False),
    "failing": (errno.EIO, False),
    "short": (errno.ENOSPC, True),
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.truncate": 0}
#: what a full disk still allows
_FREES = ("os.remove", "os.rmdir")


@dataclass
class Fault:
    """One failure to come; counts the operations that it sees."""

    folder: str
    at: int  #: which operation fails; beyond all, none does
    kind: str = "full"
    seen: int = 0
    names: list[str] = field(default_factory=list)

    def step(self, what: str, path: str) -> bool:
        """Count one operation; whether it fails."""
        if not path.startswith(self.folder):
            return False
        code, lasting = KINDS[self.kind]
        if what in _FREES and code == errno.ENOSPC:
            return False
        self.seen += 1
        self.names.append(f"{what} {os.path.basename(path)}")
        return self.seen == self.at or (lasting and self.seen > self.at)

    def error(self, path: str) -> OSError:
        """What the system says."""
        code = KINDS[self.kind][0]
        return OSError(code, os.strerror(code), path)


_ARMED: list[Fault] = []


def _hook(event: str, given: tuple[Any, ...]) -> None:
    if not _ARMED:
        return
    if event == "open":
        path, _, flags = given
        if isinstance(path, int) or path is None or not (flags & _WRITES):
            return
    elif event in _CHANGES:
        path = given[_CHANGES[event]]
    else:
        return
    path = _path_of(path) if isinstance(path, int) else os.path.abspath(os.fsdecode(path))
    if _ARMED[0].step(event, path):
        raise _ARMED[0].error(path)


class _Handle:
    """A file whose writes are operations, too."""

    def __init__(self, inner: Any, path: str) -> None:
        self._inner, self._path = inner, path

    def __enter__(self) -> _Handle:
        return self

    def __exit__(self, *given: Any) -> None:
        self._inner.close()

    def write(self, content: bytes) -> int:
        if _ARMED and _ARMED[0].step("write", self._path):
            if _ARMED[0].kind == "short":
                self._inner.write(content[: len(content) // 2])
            raise _ARMED[0].error(self._path)
        return int(self._inner.write(content))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _path_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


@contextmanager
def failing(folder: Path, at: int, kind: str) -> Iterator[Fault]:
    """Let the ``at``-th operation below ``folder`` fail inside the block."""
    global _hooked
    if not _hooked:
        sys.addaudithook(_hook)  # for good: hooks cannot be taken away
        _hooked = True
    opened, synced, written = os.fdopen, os.fsync, os.write

    def fdopen(descriptor: int, *given: Any, **more: Any) -> Any:
        return _Handle(opened(descriptor, *given, **more), _path_of(descriptor))

    def fsync(descriptor: int) -> None:
        path = _path_of(descriptor)
        if _ARMED and _ARMED[0].step("fsync", path):
            raise _ARMED[0].error(path)
        synced(descriptor)

    def write(descriptor: int, content: Any) -> int:
        path = _path_of(descriptor)
        if _ARMED and _ARMED[0].step("write", path):
            if kind == "short":
                written(descriptor, content[: len(content) // 2])
            raise _ARMED[0].error(path)
        return written(descriptor, content)

    fault = Fault(str(folder.resolve()), at, kind)
    os.fdopen, os.fsync, os.write = fdopen, fsync, write
    _ARMED.append(fault)
    try:
        yield fault
    finally:
        _ARMED.clear()
        os.fdopen, os.fsync, os.write = opened, synced, written


_hooked = False
