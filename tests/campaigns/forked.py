"""Children forked from a process that has imported everything: what a start costs is paid once.

``Preloaded`` starts that process; each trial is a child of it, which does runs, or a grid of them,
in a home of its own and dies as it was told. ``python -m tests.campaigns.forked`` is the process.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 120.0  #: after which a child counts as hanging


class Preloaded:
    """The process, for as long as a ``with`` block lasts."""

    def __init__(self, folder: Path, warm: Sequence[Mapping[str, Any]]) -> None:
        """Args: a folder for its own use; runs that it does itself, so as to have all loaded."""
        self._folder, self._warm = folder, warm

    def __enter__(self) -> Preloaded:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._log = (self._folder / "stderr.txt").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaigns.forked"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self._ask({"warm": list(self._warm), "home": str(self._folder / "warm")})
        return self

    def __exit__(self, *error: object) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()
        self._log.close()

    def child(self, home: Path, configs: Sequence[Mapping[str, Any]], **how: Any) -> dict[str, Any]:
        """Let a child do ``configs`` in ``home``.

        Args:
            home: its FEDBENCH_HOME.
            configs: runs, one after the other.
            how: ``out``: a file for :func:`outcome`; ``grid``: whether all are done side by side;
                ``disk``: options of :class:`tests.campaigns.disk.Disk`; ``kill``: ``at``, a moment
                that the child tells of (:func:`_tell`), ``nth``, which one of these, ``after``,
                seconds, and ``worker``, whether one of its workers is killed instead.

        Returns:
            ``status`` (of a killed child, minus the signal; None: it was hanging), whether it was
            ``killed`` from outside, and ``orphans``, workers that outlived it.
        """
        return self._ask({"home": str(home), "configs": list(configs), **how})

    def _ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        log = self._folder / "stderr.txt"
        assert answer, f"the preloaded process ended:\n{log.read_text()[-3000:]}"
        return json.loads(answer)

    def said(self) -> str:
        """The end of what children wrote on stderr."""
        return (self._folder / "stderr.txt").read_text()[-3000:]


def outcome(home: Path) -> dict[str, Any]:
    """All that must be a function of configurations alone: results by run, and names of files."""
    from fedbench import store

    found = {run.id: _result(run) for run in store.finished() if not run.recorded}
    return {
        "runs": found,
        "files": sorted(str(p.relative_to(home)) for p in home.rglob("*") if not p.is_dir()),
    }


def _result(run: Any) -> dict[str, Any]:
    paths = [*run.adapters.values(), *run.deltas.values(), run.source / "partition.json"]
    return {
        "files": {
            str(path.relative_to(run.source)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in paths
        },
        "items": hashlib.sha256(run.items.to_json().encode()).hexdigest(),
        "metrics": dict(run.metrics),
        "rounds": list(run.rounds),
        "sites": list(run.sites),
    }


def _serve() -> None:
    os.environ["FEDBENCH_HOME"] = ""
    answers = os.dup(1)
    os.dup2(2, 1)  # what children print is no answer
    for line in sys.stdin:
        job = json.loads(line)
        os.environ["FEDBENCH_HOME"] = job["home"]
        answer = _load(job["warm"]) if "warm" in job else _trial(job)
        os.write(answers, (json.dumps(answer) + "\n").encode())


def _load(warm: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    import pandas  # noqa: F401
    import tqdm

    from fedbench import grid, provenance
    from fedbench.config import RunConfig
    from fedbench.running import run

    tqdm.tqdm.monitor_interval = 0  # a thread would not be forked along
    # Which commit this is takes a process each time, and no result depends on it.
    provenance.git = lambda *arguments: ""
    grid.cores_here = lambda: 2
    for config in warm:
        run(RunConfig.model_validate(config))
    return {}


def _trial(job: Mapping[str, Any]) -> dict[str, Any]:
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        os.close(told)
        os.setpgid(0, 0)
        _child(job, tell)
    os.close(tell)
    kill, killed, workers = job.get("kill"), False, []
    if kill:
        moment = f"{kill['at']}\n".encode()
        killed = _nth(told, moment, kill["nth"])
        if killed:
            time.sleep(kill["after"])
            workers = _children(child)
            victims = workers[kill["worker"] % len(workers) :] if "worker" in kill else [child]
            for victim in victims[:1]:
                os.kill(victim, signal.SIGKILL)
    status = _wait(child)
    os.close(told)
    deadline = time.monotonic() + 20
    while (left := [pid for pid in workers if _alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return {"status": status, "killed": killed, "orphans": len(left)}


def _child(job: Mapping[str, Any], tell: int) -> None:
    """Do the runs and end; never returns."""
    status = 1
    try:
        os.fsync = lambda opened: None  # of no power that is really lost
        disk = None
        home = Path(job["home"])
        if how := job.get("disk"):
            from tests.campaigns.disk import Disk

            disk = Disk(home, Path(how["aside"]), how["at"], half=how.get("half", False))
        _tell(tell)
        _do(job)
        if disk:
            disk.told()
        if "out" in job:
            Path(job["out"]).write_text(json.dumps(outcome(home)))
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _do(job: Mapping[str, Any]) -> None:
    import multiprocessing

    from fedbench import grid, store
    from fedbench.config import RunConfig
    from fedbench.resolving import resolve
    from fedbench.running import run

    configs = [RunConfig.model_validate(config) for config in job["configs"]]
    assert list(store.finished()) is not None  # whatever a killed one left can be read
    if job.get("grid"):
        real = multiprocessing.get_context
        multiprocessing.get_context = lambda method=None: real("fork")
        grid.ensure_runs([resolve(config) for config in configs], progress=False)
    else:
        for config in configs:
            run(config)


def _tell(tell: int) -> None:
    """Let whoever kills know what this child is at: phases of a run, and writes."""
    from fedbench import files, phases
    from fedbench.durable import temporary_file

    class Seen:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> None:
            os.write(tell, f"{self.name}\n".encode())

        def __exit__(self, *error: object) -> None:
            pass

    phases._observer.set(Seen)

    def writing(path: Path, mode: int) -> Any:
        os.write(tell, b"write\n")
        return temporary_file(path, mode)

    files.temporary_file = writing


def _nth(told: int, moment: bytes, nth: int) -> bool:
    """Wait until a child has told of the ``moment`` so often; False if it ended before."""
    seen, rest, deadline = 0, b"", time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        ready, _, _ = select.select([told], [], [], 1.0)
        if ready:
            chunk = os.read(told, 65536)
            if not chunk:
                return False
            *lines, rest = (rest + chunk).split(b"\n")
            seen += sum(line + b"\n" == moment for line in lines)
            if seen >= nth:
                return True
    return False


def _wait(child: int) -> int | None:
    """How a child ended; it is killed, and None returned, if it does not."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _children(parent: int) -> list[int]:
    path = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def _alive(pid: int) -> bool:
    """Whether a process runs; one that ended and is waited for by nobody does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


if __name__ == "__main__":
    _serve()
