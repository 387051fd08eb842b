"""A disk on which a process dies at its n-th operation, and which may then lose power, too.

Every operation below a folder that changes it passes through here: making, writing, syncing,
renaming and removing files and folders. What was not synced may be lost with the power: what was
written to a file, and what became of the names in a folder, in reverse order, from some operation
on. Nothing promises more than that (SQLite's documentation, "Atomic Commit In SQLite").
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

_CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_REAL = {
    name: getattr(os, name)
    for name in "open write fsync rename replace unlink remove mkdir rmdir".split()
}


class Disk:
    """Watches what happens below ``home`` in this process, which is to die at operation ``at``."""

    def __init__(self, home: Path, aside: Path, at: int | None, *, half: bool = False) -> None:
        """Begin to watch.

        Args:
            home: the folder.
            aside: another, on the same disk, for what is needed to lose power afterwards.
            at: operation, from 0, before which the process dies; None: it lives.
            half: die in the middle of it; of a write, half is written.
        """
        self.home, self.aside, self.at, self.half = os.path.realpath(home), aside, at, half
        self.done: list[str] = []  #: operations, for people
        self.unsynced: dict[int, int] = {}  #: by inode, the bytes that would outlast
        self.names: list[tuple[str, list[str]]] = []  #: folder, what became of a name in it
        self.inside = False
        aside.mkdir(parents=True, exist_ok=True)
        for name in _REAL:
            setattr(os, name, getattr(self, f"_{name}"))
        sys.addaudithook(self._guard)

    def told(self) -> None:
        """Write down what was done, and what is not synced."""
        self.inside = True
        told = {"done": self.done, "unsynced": self.unsynced, "names": self.names}
        (self.aside / "told.json").write_text(json.dumps(told))

    def _guard(self, event: str, arguments: tuple) -> None:
        """No operation of Python escapes: files are opened through ``os.open`` alone."""
        if event != "open" or self.inside:
            return
        path, _, flags = arguments
        if not isinstance(path, str | bytes | os.PathLike):
            return
        if isinstance(flags, int) and flags & _CHANGES and self._of(path):
            sys.stderr.write(f"{path} is written past the disk of the trial.\n")
            os._exit(70)

    def _of(self, path, dir_fd=None) -> str | None:
        """The absolute path, if it is below the folder."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        elif dir_fd is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), os.fspath(path))
        path = os.path.abspath(os.fsdecode(path))
        return path if path.startswith(self.home + os.sep) else None

    def _step(self, what: str, path: str, halfway=lambda: None) -> None:
        if len(self.done) == self.at:
            if self.half:
                halfway()
            self.told()
            os.kill(os.getpid(), signal.SIGKILL)
        self.done.append(f"{what} {os.path.relpath(path, self.home)}")

    def _call(self, name: str, *args, **kwargs):
        self.inside = True
        try:
            return _REAL[name](*args, **kwargs)
        finally:
            self.inside = False

    def _shadow(self, path: str) -> str:
        """Keep a file that is about to lose its name."""
        kept = str(self.aside / f"{len(self.done)}.shadow")
        os.link(path, kept)
        return kept

    def _named(self, path: str, *what: str) -> None:
        self.names.append((os.path.dirname(path), list(what)))

    def _open(self, path, flags, mode=0o777, *, dir_fd=None):
        full = self._of(path, dir_fd) if flags & _CHANGES else None
        if full and not os.path.exists(full):
            self._step("create", full)
            self._named(full, "create", full)
        return self._call("open", path, flags, mode, dir_fd=dir_fd)

    def _write(self, opened, content):
        full = self._of(opened) if opened > 2 else None
        if full:
            self._step("write", full, lambda: self._half(opened, content))
            self._unsync(opened)
        return self._call("write", opened, content)

    def _half(self, opened, content) -> None:
        self._unsync(opened)
        self._call("write", opened, bytes(content)[: len(content) // 2])

    def _unsync(self, opened) -> None:
        found = os.fstat(opened)
        self.unsynced.setdefault(found.st_ino, found.st_size)

    def _fsync(self, opened):
        full = self._of(opened)
        if full or os.readlink(f"/proc/self/fd/{opened}") == self.home:
            full = full or self.home
            self._step("sync", full)
            self.unsynced.pop(os.fstat(opened).st_ino, None)
            self.names = [one for one in self.names if one[0] != full]
        return self._call("fsync", opened)

    def _replace(self, old, new, **kwargs):
        return self._renamed("replace", old, new, **kwargs)

    def _rename(self, old, new, **kwargs):
        return self._renamed("rename", old, new, **kwargs)

    def _renamed(self, name, old, new, **kwargs):
        before, after = self._of(old), self._of(new)
        if before and after:
            self._step("rename", after)
            kept = self._shadow(after) if os.path.isfile(after) else ""
            self._named(after, "rename", before, after, kept)
        return self._call(name, old, new, **kwargs)

    def _unlink(self, path, *, dir_fd=None):
        full = self._of(path, dir_fd)
        if full and os.path.exists(full):
            self._step("unlink", full)
            self._named(full, "unlink", full, self._shadow(full))
        return self._call("unlink", path, dir_fd=dir_fd)

    _remove = _unlink

    def _mkdir(self, path, mode=0o777, *, dir_fd=None):
        full = self._of(path, dir_fd)
        if full and not os.path.exists(full) and os.path.isdir(os.path.dirname(full)):
            self._step("mkdir", full)
            self._named(full, "mkdir", full)
        return self._call("mkdir", path, mode, dir_fd=dir_fd)

    def _rmdir(self, path, *, dir_fd=None):
        full = self._of(path, dir_fd)
        if full and os.path.isdir(full) and not os.listdir(full):
            self._step("rmdir", full)
            self._named(full, "rmdir", full)
        return self._call("rmdir", path, dir_fd=dir_fd)


def lose_power(home: Path, aside: Path, draw: random.Random) -> int:
    """Lose what the process that died had not synced; how much that was.

    Contents are lost, and in each folder the last few changes of names, perhaps all or none.
    """
    told = json.loads((aside / "told.json").read_text())
    folders = {folder for folder, _ in told["names"]}
    kept = {
        folder: draw.choice([0, 0, draw.randint(0, sum(f == folder for f, _ in told["names"]))])
        for folder in sorted(folders)
    }
    undone = []
    for folder, what in told["names"]:
        kept[folder] -= 1
        if kept[folder] < 0:
            undone.append(what)
    for what in reversed(undone):
        _undo(*what)
    lost = len(undone)
    for path in home.rglob("*"):
        if path.is_file() and (left := told["unsynced"].get(str(path.stat().st_ino))) is not None:
            os.truncate(path, left)
            lost += 1
    return lost


def _undo(kind: str, path: str, *more: str) -> None:
    # What a lost folder held is lost with it: then there is nothing left to undo.
    with suppress(FileNotFoundError, NotADirectoryError):
        if kind == "create":
            os.unlink(path)
        elif kind == "unlink":
            os.rename(more[0], path)
        elif kind == "mkdir":
            shutil.rmtree(path)
        elif kind == "rmdir":
            os.mkdir(path)
        elif kind == "rename":
            after, kept = more
            os.rename(after, path)
            if kept:
                os.rename(kept, after)
