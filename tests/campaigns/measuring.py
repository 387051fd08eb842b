"""What a process takes while it works: memory, open files, bytes written, bytes on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from statistics import linear_regression
from typing import NamedTuple

from tests.campaigns import sharing

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Taken(NamedTuple):
    """At one moment, of this process and of the folder of everything computed."""

    at: int  #: rounds or runs done
    memory: int  #: bytes that are resident
    files: int  #: open ones
    written: int  #: bytes, so far
    logs: int  #: bytes on disk of logs of rounds
    disk: int  #: bytes on disk of everything else


def taken(at, home):
    io = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    sizes = {path: path.stat().st_size for path in home.rglob("*") if path.is_file()}
    logs = sum(size for path, size in sizes.items() if path.suffix == ".jsonl")
    return Taken(
        at,
        int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE,
        len(os.listdir("/proc/self/fd")),
        int(io["wchar"]),
        logs,
        sum(sizes.values()) - logs,
    )


def growth(measured, field, *, warm):
    """By how much a field grows for each round or run, once ``warm`` of them are done."""
    late = [one for one in measured if one.at >= warm]
    return linear_regression([one.at for one in late], [getattr(one, field) for one in late]).slope


def watched(work, home, *arguments):
    """What ``work(home, note, *arguments)`` takes in a process of its own whenever it notes."""
    home.mkdir()
    process = sharing.SERVER.Process(target=_watch, args=(work, home, arguments))
    process.start()
    process.join()
    assert process.exitcode == 0, (home / "log").read_text()
    lines = (home / "taken").read_text().splitlines()
    return [Taken(*json.loads(line)) for line in lines]


def _watch(work, home, arguments):
    os.environ["FEDBENCH_HOME"] = str(home / "home")
    (home / "home").mkdir()
    log = os.open(home / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    with (home / "taken").open("w") as kept:

        def note(at):
            kept.write(json.dumps(taken(at, home / "home")) + "\n")
            kept.flush()

        work(home / "home", note, *arguments)
