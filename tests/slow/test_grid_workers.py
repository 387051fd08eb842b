"""A grid in real worker processes: one that is killed, and a run that fails, take nobody along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from fedbench import grid, store
from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.resolving import resolve

pytestmark = pytest.mark.slow


def children(parent):
    """Ids of the worker processes that a grid has started in this process."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as handle:
                    fields = handle.read().rpartition(")")[2].split()
                with open(f"/proc/{entry}/cmdline") as handle:
                    command = handle.read()
            except OSError:
                continue
            if int(fields[1]) == parent and "spawn_main" in command:
                found.append(int(entry))
    return found


@pytest.fixture
def configs(toy):
    def of(count, **values):
        return [
            resolve(
                RunConfig.model_validate({**toy, "rounds": 3, "passes": 3, **values, "seed": i})
            )
            for i in range(count)
        ]

    return of


@pytest.mark.timeout(600)
def test_a_worker_killed_from_outside_does_not_take_the_grid(configs):
    wanted = configs(6)
    killed = []

    def kill():
        deadline = time.monotonic() + 120
        while not killed and time.monotonic() < deadline:
            begun = any((store.folder(config.id) / "work").exists() for config in wanted)
            workers = children(os.getpid()) if begun else []
            if workers:
                os.kill(workers[0], signal.SIGKILL)
                killed.append(workers[0])
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    found = grid.ensure_runs(wanted, progress=False)
    killer.join()
    assert killed
    assert [run.config for run in found] == wanted


@pytest.mark.timeout(600)
def test_a_failing_run_is_told_and_the_others_are_done(configs):
    good = configs(2)
    (bad,) = configs(1, partition={"kind": "iid", "sites": 2, "minimum": 1000})
    with pytest.raises(FedbenchError, match=r"1 of 3 runs could not be done.*minimum = 1000"):
        grid.ensure_runs([bad, *good], progress=False)
    assert [store.exists(config.id) for config in [bad, *good]] == [False, True, True]


@pytest.mark.timeout(300)
def test_a_grid_killed_from_outside_leaves_no_workers_behind(tmp_path):
    environment = os.environ | {"FEDBENCH_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "fedbench", "grid", "--profile", "tiny"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    workers = []
    while not workers:
        workers = children(process.pid)
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    while any(os.path.exists(f"/proc/{worker}") for worker in workers):
        assert time.monotonic() < deadline, "workers outlive their grid"
        time.sleep(0.1)
