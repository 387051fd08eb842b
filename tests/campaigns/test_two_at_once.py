"""Several processes on one grid: they share the work, whatever becomes of one of them."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter

import pytest

from fedbench import collecting
from fedbench.config import RunConfig
from fedbench.locks import is_held
from fedbench.resolving import resolve
from tests.campaigns import sharing

RUNS = 5
RESULTS = {"adapters", "items.parquet", "lock", "manifest.json", "partition.json", "run.json"}
EVENTS = ("nothing", "a grid is killed", "a worker is killed", "a worker stands still")


def _disturbed(draw, home, processes):
    """Let one of the grids, or a worker of it, be killed or stopped; return what happened."""
    event = draw.choice(EVENTS)
    if event == "nothing":
        return event, None
    before = draw.randrange(RUNS)  # that others have begun
    while len(begun := _under_way(home)) == 0 or len(sharing.entries(home)) < 2 * before:
        if not any(process.is_alive() for process in processes):
            return "too late", None
        time.sleep(0.005)
    victim = draw.choice(begun)
    time.sleep(draw.uniform(0, 0.2))
    if event == "a grid is killed":
        sharing.kill(victim.grid, signal.SIGKILL)
    elif event == "a worker is killed":
        sharing.kill(victim.worker, signal.SIGKILL)
    else:
        sharing.kill(victim.worker, signal.SIGSTOP)
        time.sleep(draw.uniform(0.2, 1))
        sharing.kill(victim.worker, signal.SIGCONT)
    return event, victim.grid


def _under_way(home):
    found = sharing.entries(home)
    ended = {(one.run, one.worker) for one in found if one.kind == "ended"}
    return [one for one in found if (one.run, one.worker) not in ended]


def _ended(processes, home):
    deadline = time.monotonic() + 600
    for process in processes:
        process.join(deadline - time.monotonic())
        assert not process.is_alive(), (home, [p.pid for p in processes])
    return {process.pid: process.exitcode for process in processes}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_processes_on_the_same_grid_compute_nothing_twice(campaign, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "_planned", dict)
    configs = [
        resolve(RunConfig.model_validate({**toy, "rounds": 3, "passes": 3, "seed": seed}))
        for seed in range(RUNS)
    ]
    (tmp_path / "alone").mkdir()
    _ended([sharing.start(tmp_path / "alone", configs)], tmp_path)
    undisturbed = sharing.results(tmp_path / "alone")
    assert undisturbed.keys() == {config.id for config in configs}

    draw = random.Random(campaign.seed)
    trials = campaign.size(sample=4, full=40)
    events, told = Counter(), Counter()
    for trial in range(trials):
        home = tmp_path / str(trial)
        home.mkdir()
        processes, wanted = [], {}
        for number in range(draw.choice([2, 2, 3])):
            time.sleep(draw.uniform(0, 0.5) if number else 0)
            some = draw.choice([configs, configs, configs[:-1], configs[1:]])  # as of two profiles
            processes.append(sharing.start(home, some))
            wanted[processes[-1].pid] = {config.id for config in some}
        tidying = [sharing.start_gc(home)] if draw.random() < 0.3 else []
        event, hit = _disturbed(draw, home, processes)
        codes = _ended(processes, home)
        (home / "stop").touch()
        assert all(code == 0 for code in _ended(tidying, home).values())

        killed = {hit} if "killed" in event else set()
        gone = {pid for pid, code in codes.items() if code == -signal.SIGKILL}
        assert gone <= (killed if event == "a grid is killed" else set()), (event, codes)
        assert all(code == 0 for pid, code in codes.items() if pid not in gone), (event, codes)
        found = sharing.entries(home)
        done = Counter(one.run for one in found if one.kind == "ended")
        broken = _under_way(home)
        assert max(done.values()) == 1, (event, done)
        assert {one.grid for one in broken} <= killed, (event, broken)
        expected = set().union(*(ids for pid, ids in wanted.items() if pid not in gone))
        assert expected <= sharing.results(home).keys()
        assert sharing.results(home).items() <= undisturbed.items()
        assert not any(is_held(path) for path in home.glob("runs/*/lock"))
        monkeypatch.setenv("FEDBENCH_HOME", str(home))
        collecting.collect(days=0, remove=True)
        left = {path.name for path in home.glob("runs/*/*")} | {*map(str, home.rglob(".*.*"))}
        assert left <= RESULTS
        assert expected <= sharing.results(home).keys()
        events[event] += 1
        told["computed"] += len(found) - sum(done.values())
        told["tidied"] += sum(int((home / "removed").read_text()) for _ in tidying)
        told["taken_over"] += len(broken)
        told["shared"] += len({one.grid for one in found}) > 1
        told["waited"] += any("waiting for" in log.read_text() for log in home.glob("*.log"))
    campaign.count(
        trials=trials,
        wrong_results=0,
        computed_twice=0,
        **told,
        **{event.replace(" ", "_"): count for event, count in sorted(events.items())},
    )
    assert told["shared"] >= trials // 2
    assert told["waited"]
    if trials >= 40:
        assert set(EVENTS) <= set(events)
        assert told["taken_over"] >= 5
