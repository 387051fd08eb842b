"""A command with all processes that it starts: how long, on how much processor and memory."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedbench.errors import FedbenchError

_MARK = "FEDBENCH_BENCH_PROCESS"  #: a variable that children inherit, so that none is missed
_PAUSE = 0.1  #: seconds between two looks
_KINDS = ("RssAnon", "RssFile", "RssShmem")


def measured(command: Sequence[str], output: Path) -> dict[str, Any]:
    """Run ``command`` to its end.

    Its processes are those that inherit its environment, wherever they were moved to.

    Args:
        command: program and arguments.
        output: file for what it prints.

    Returns:
        ``seconds``; ``user_seconds`` of processors, of all processes together; ``peak_bytes``,
        the private memory of all processes with what they map and share counted once;
        ``resident_bytes``, where it counts in each; and ``processes``, all three at their peaks.

    Raises:
        FedbenchError: it ended with another status than 0.
    """
    token = secrets.token_hex(8)
    peaks = {"peak_bytes": 0, "resident_bytes": 0, "processes": 0}
    used: dict[str, float] = {}
    began = time.perf_counter()
    with output.open("wb") as printed:
        process = subprocess.Popen(
            command, env=os.environ | {_MARK: token}, stdout=printed, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:
                looks = list(_looks(token))
                used.update((look.process, look.user_seconds) for look in looks)
                now = totals([look.memory for look in looks])
                peaks = {name: max(value, now[name]) for name, value in peaks.items()}
                time.sleep(_PAUSE)
        finally:
            process.kill()
            process.wait()
    seconds = time.perf_counter() - began
    if process.returncode:
        last = output.read_text("utf-8", "replace").strip().splitlines()[-1:] or ["nothing"]
        raise FedbenchError(f"{' '.join(command[1:5])} failed; its last words: {last[0]}")
    return {"seconds": seconds, "user_seconds": sum(used.values()), **peaks}


def totals(memories: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Memory of several processes, each given by kind in bytes.

    Files and shared memory are counted once, as much as the largest has of them: pages of one
    library are the same in all.
    """
    private, files, shared = ([memory[kind] for memory in memories] for kind in _KINDS)
    return {
        "peak_bytes": sum(private) + max(files, default=0) + max(shared, default=0),
        "resident_bytes": sum(private) + sum(files) + sum(shared),
        "processes": len(memories),
    }


class _Look(NamedTuple):
    process: str
    user_seconds: float  #: until now: what a process does after the last look is not counted
    memory: dict[str, int]


def _looks(token: str) -> Iterator[_Look]:
    """At every process that carries the token; none where there is no /proc."""
    mark = f"{_MARK}={token}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                stat, status = ((folder / name).read_text("utf-8") for name in ("stat", "status"))
                yield _Look(folder.name, user_seconds(stat), memory(status))
        except OSError:  # it has ended, or is somebody else's
            continue


def user_seconds(stat: str) -> float:
    """Seconds outside the kernel that ``/proc/PID/stat`` tells, whatever the program is called."""
    ticks = stat.rpartition(")")[2].split()[11]
    return int(ticks) / os.sysconf("SC_CLK_TCK")


def memory(status: str) -> dict[str, int]:
    """Bytes by kind that ``/proc/PID/status`` tells; nothing of a process that has ended."""
    found = dict.fromkeys(_KINDS, 0)
    for line in status.splitlines():
        name, _, rest = line.partition(":")
        if name in found:
            found[name] = int(rest.split()[0]) * 1024
    return found
