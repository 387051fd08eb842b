"""Whole commands, their workers and kernels of notebooks, killed with kill -9 and done again."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
import yaml

from tests.campaigns.kinds import small

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
_MARK = "FEDBENCH_TRIAL"  #: in the environment of a command and of all that it starts
#: by command: what it is given, what must be done before, and changes of files that it makes
COMMANDS = {
    "run": (["run", "--config", "run.yml"], [], 12),
    "grid": (["grid", "--profile", "toy.yml"], [], 20),
    "figures": (["figures", "--profile", "toy.yml"], [], 30),
    "tune": (["tune", "--profile", "toy.yml"], [], 20),
    "record": (["record", "--profile", "toy.yml"], ["grid"], 2),
    "export": (["export", "", "exported"], ["grid"], 3),
}
_CELLS = (
    'profile = "x"\noutput = "y"',
    "from fedbench import grid, report\nfrom fedbench.report.writing import write_table",
    "runs, figures = grid.found(profile), report.folder(output)\n"
    "results = report.main_results(runs, grid.planned(profile))",
    'report.write_table(results, "main_results", figures, runs, "All.")',
)


def make_checkout(folder: Path, toy) -> Path:
    """A checkout of its own, whose data and figures commands may write, and what they are given."""
    kept = shutil.ignore_patterns("backbones", "recorded", "bench", "leakage", "systems")
    shutil.copytree(ROOT / "fedbench", folder / "fedbench")
    shutil.copytree(ROOT / "data", folder / "data", ignore=kept)
    config = small(toy)["plain"]
    (folder / "run.yml").write_text(yaml.safe_dump(config))
    cell = {"tasks": [config.pop("task")], "backbones": [config.pop("backbone")]}
    partition = config.pop("partition")
    for field in ("passes", "learning_rate"):
        config.pop(field, None)
    profile = {
        "title": "toys", "minutes": 1, "partitions": [partition],
        "notebooks": "drawn",
        "common": {**config, "passes": 1, "learning_rate": 0.003},
        "grid": [{**cell, "methods": ["lora"], "seeds": [0], "settings": ["base", "federated"]}],
        "tuning": {"seeds": [7], "learning_rates": [0.01, 0.02], "passes": [1], "extensions": 0},
    }  # fmt: skip
    (folder / "toy.yml").write_text(yaml.safe_dump(profile))
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in _CELLS])
    made.cells[0].metadata["tags"] = ["parameters"]
    made.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    (folder / "drawn").mkdir()
    nbformat.write(made, folder / "drawn" / "01_table.ipynb")
    return folder


def start(place: Path, command: str, mark: str = "") -> subprocess.Popen:
    """Start a command in a checkout."""
    words = list(COMMANDS[command][0])
    if command == "export":
        words[1] = sorted(path.parent.name for path in place.glob("build/runs/*/adapters"))[0]
    own = {"FEDBENCH_HOME": "build", "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1", _MARK: mark}
    own |= {"JUPYTER_RUNTIME_DIR": str(place / "jupyter"), "IPYTHONDIR": str(place / "ipython")}
    own |= {"TMPDIR": str(place / "tmp")}
    (place / "tmp").mkdir(exist_ok=True)
    with (place / "tmp" / "stderr.txt").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "fedbench", *words],
            cwd=place, env=os.environ | own, stdout=subprocess.DEVNULL, stderr=said,
        )  # fmt: skip


def finish(place: Path, command: str) -> dict[str, str]:
    """Let a command end; every file that it left, with what must be the same each time.

    An export is there as a whole or not at all; once it is, it is not done again.
    """
    if command != "export" or not (place / "exported").exists():
        process = start(place, command)
        told = (place / "tmp" / "stderr.txt").read_text
        assert process.wait(timeout=600) == 0, told()[-3000:]
    return {str(p.relative_to(place)): _content(p) for p in _files(place)}


def _files(place: Path) -> list[Path]:
    roots = [place / name for name in ("build", "data", "figures", "exported")]
    return sorted(p for root in roots for p in root.rglob("*") if p.is_file())


def _content(path: Path) -> str:
    """A hash, but of what tells the time of day or what a kernel said."""
    timed = path.name in ("run.json", "manifest.json", "lock") or path.suffix == ".ipynb"
    recorded = path.name == "runs.jsonl"
    timed |= recorded or (path.parts[-3] in ("figures", "notebooks") and path.suffix == ".json")
    return "" if timed else hashlib.sha256(path.read_bytes()).hexdigest()


def of(mark: str) -> list[int]:
    """Processes that a command and whatever it started left running."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{_MARK}={mark}\0".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def cut(place: Path, command: str, mark: str, draw: random.Random) -> str:
    """Kill a command, or something that it started, at a random moment; what was killed, or ""."""
    process = start(place, command, mark)
    changes, seen = draw.randint(0, COMMANDS[command][2]), _state(place)
    begun, wait = time.monotonic(), draw.uniform(0.2, 4)
    while process.poll() is None and (changes or time.monotonic() - begun < wait):
        time.sleep(0.01)
        now = _state(place)
        if changes and now != seen:
            changes, seen, begun, wait = changes - 1, now, time.monotonic(), draw.uniform(0, 0.1)
    others = [pid for pid in of(mark) if pid != process.pid]
    of_others = bool(others) and draw.random() < 0.3
    victim, killed = draw.choice(others) if of_others else process.pid, ""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            killed = "started by it" if of_others else "command"
    status = process.wait(timeout=300)
    assert status in (0, 2, -signal.SIGKILL), (place / "tmp" / "stderr.txt").read_text()[-3000:]
    deadline = time.monotonic() + 60
    while left := of(mark):
        assert time.monotonic() < deadline, f"{command}: {left} outlive it"
        time.sleep(0.05)
    return killed


def _state(place: Path) -> list[tuple[str, int]]:
    found = []
    for path in _files(place):
        with suppress(OSError):
            found.append((str(path), path.stat().st_mtime_ns))
    return found


@pytest.mark.timeout(3000)
def test_kills_of_whole_commands_and_notebooks(campaign, toy, tmp_path):
    draw = random.Random(campaign.seed)
    wanted = campaign.size(sample=3, full=50)
    names = [*COMMANDS] if campaign.folder else draw.sample(["run", "figures", "tune"], 1)
    kills, by_command = Counter(), Counter()
    for number, command in enumerate(names):
        before = make_checkout(tmp_path / command / "before", toy)
        for earlier in COMMANDS[command][1]:
            finish(before, earlier)
        whole = _whole(before, command)
        share = wanted * (number + 1) // len(names) - kills.total()
        while share > 0:
            place = before.with_name("cut")
            shutil.copytree(before, place)
            for attempt in range(min(share, 5)):
                if killed := cut(place, command, f"{command}-{share}-{attempt}", draw):
                    kills[killed] += 1
                    by_command[command] += 1
                    share -= 1
            assert finish(place, command) == whole, f"{command} after {dict(kills)}"
            shutil.rmtree(place)
    assert kills.total() >= wanted
    campaign.count(kills=kills.total(), wrong_results=0, orphans=0, **by_command)


def _whole(before: Path, command: str) -> dict[str, str]:
    place = before.with_name("cut")
    shutil.copytree(before, place)
    found = finish(place, command)
    shutil.rmtree(place)
    return found
