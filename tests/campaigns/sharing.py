"""Grids in processes that are forked, not started anew, and a journal of what each computes."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

FORKED = multiprocessing.get_context("fork")
SERVER = multiprocessing.get_context("forkserver")
_PRELOADED = ["fedbench.running", "fedbench.grid", "peft", "pyarrow.parquet"]
SERVER.set_forkserver_preload([*_PRELOADED, "transformers.models.llama.modeling_llama"])


class Entry(NamedTuple):
    """A line of the journal."""

    kind: str  #: begun or ended
    run: str
    worker: int
    grid: int


def start(home, configs):
    """A process that wants all of ``configs``; its exit code is 0 if it has them."""
    process = SERVER.Process(target=_grid, args=(home, configs))
    process.start()
    return process


def start_gc(home):
    """A process that removes all it may, again and again, until ``stop`` is there."""
    process = SERVER.Process(target=_gc, args=(home,))
    process.start()
    return process


def entries(home):
    """The journal: which worker of which grid began and ended to compute which run."""
    path = home / "journal"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [line.split() for line in lines]
    return [Entry(kind, run, int(worker), int(grid)) for kind, run, worker, grid in found]


def results(home):
    """All that is a function of a run's configuration alone, by the run's id."""
    found = {}
    for manifest in home.glob("runs/*/manifest.json"):
        files = json.loads(manifest.read_text())["files"]
        record = json.loads((manifest.parent / "run.json").read_text())
        files.pop("run.json")  # holds the time of day
        found[manifest.parent.name] = files, record["metrics"], record["rounds"]
    return found


def _grid(home, configs):
    from fedbench import grid, running

    _silence(home)
    os.environ["FEDBENCH_HOME"] = str(home)
    grid.multiprocessing = _Forking
    compute = running._compute

    def told(config, *given):
        _enter(home, "begun", config)
        compute(config, *given)
        _enter(home, "ended", config)

    running._compute = told
    found = grid.ensure_runs(configs, progress=False)
    sys.exit(0 if [run.config for run in found] == configs else 1)


def _gc(home):
    from fedbench import collecting

    _silence(home)
    os.environ["FEDBENCH_HOME"] = str(home)
    collecting._planned = dict
    removed = 0
    while not (home / "stop").exists():
        removed += len(collecting.collect(days=0, stale=True, remove=True).waste)
    (home / "removed").write_text(str(removed))


class _Forking:
    """Stands for multiprocessing: workers have all imports from their parent."""

    @staticmethod
    def get_context(method):
        return FORKED


def _enter(home, kind, config):
    line = f"{kind} {config.id} {os.getpid()} {os.getppid()}\n".encode()
    journal = os.open(home / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(journal, line)
    os.close(journal)


def _silence(home):
    log = os.open(Path(home) / f"{os.getpid()}.log", os.O_WRONLY | os.O_CREAT, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)


def kill(pid, number):
    """Send a signal to a process that may have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
