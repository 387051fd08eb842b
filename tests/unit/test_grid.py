"""What a grid does with runs that are there, missing, stale or failing; workers are elsewhere."""

from __future__ import annotations

import pytest

from fedbench import freshness, grid, store
from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.files import write_bytes
from fedbench.locks import Busy, locked
from fedbench.resolving import resolve


def configs(count):
    return [RunConfig(task="toy", compute="plain", seed=seed) for seed in range(count)]


def finish(config):
    import pandas as pd

    items = pd.DataFrame({"item": ["a"], "scores": [[0.0]]})
    provenance = {"code": "c", "commit": "0123456789ab", "data": "d", "backbone": "b"}
    store.save(store.folder(config.id), config, {}, [], [], provenance, items)


@pytest.fixture
def pool(monkeypatch):
    """Runs everything in this process; ``failing`` and ``deadly`` say what goes wrong."""
    calls = []
    failing, deadly = {}, set()

    def attempt(waiting, failures, elsewhere, done, bar):
        calls.append(list(waiting))
        if deadly & set(waiting):
            return list(waiting)
        for config in waiting:
            if config in failing:
                failures[config] = failing[config]
            else:
                finish(config)
        return []

    monkeypatch.setattr(grid, "_attempt", attempt)
    monkeypatch.setattr(freshness, "moved", lambda run: "")
    attempt.calls, attempt.failing, attempt.deadly = calls, failing, deadly
    return attempt


def test_only_missing_runs_are_done(pool):
    wanted = configs(3)
    finish(wanted[1])
    found = grid.ensure_runs(wanted, progress=False)
    assert [run.config for run in found] == wanted
    assert {c for call in pool.calls for c in call} == {wanted[0], wanted[2]}
    assert grid.ensure_runs(wanted, progress=False) == found
    assert len(pool.calls) == 1


def test_stale_runs_are_done_again_and_the_reason_is_told_once(pool, monkeypatch, capsys):
    wanted = configs(2)
    for config in wanted:
        finish(config)
    monkeypatch.setattr(
        freshness, "moved", lambda run: "the code has moved since commit 0123456789"
    )
    grid.ensure_runs(wanted, progress=False)
    assert len(pool.calls[0]) == 2
    assert capsys.readouterr().out.count("done again because the code has moved") == 1


def test_a_failing_run_is_told_while_the_others_are_kept(pool):
    wanted = configs(3)
    pool.failing[wanted[1]] = "It is broken."
    with pytest.raises(FedbenchError, match=r"1 of 3 runs could not be done.*It is broken"):
        grid.ensure_runs(wanted, progress=False)
    assert [store.exists(config.id) for config in wanted] == [True, False, True]
    assert len(grid.ensure_runs(wanted, progress=False, missing_ok=True)) == 2


def test_a_run_that_kills_every_worker_is_told_from_its_neighbours(pool):
    wanted = configs(4)
    pool.deadly.add(wanted[2])
    with pytest.raises(FedbenchError, match=r"1 of 4 runs could not be done.*was killed"):
        grid.ensure_runs(wanted, progress=False)
    assert [store.exists(config.id) for config in wanted] == [True, True, False, True]


def test_a_worker_does_not_wait_for_a_run_that_another_has_in_hand(monkeypatch):
    import multiprocessing

    config = resolve(RunConfig(task="lookalike_fpb", backbone="fedbench-llama"))
    monkeypatch.setattr(grid, "_done", multiprocessing.get_context("spawn").Value("d", 0.0))
    monkeypatch.setattr("fedbench.running._compute", None)
    with locked(store.lock(config.id)), pytest.raises(Busy):
        grid._one(config)
    assert grid._done.value == 0.0


@pytest.fixture
def others(pool, monkeypatch):
    """Runs that another process has in hand, and what becomes of each: finished or given up."""
    inside, becomes, waits = [], {}, []

    def held(path):
        return any(path == store.lock(config.id) for config in inside)

    def attempt(waiting, failures, elsewhere, done, bar):
        elsewhere += [config for config in waiting if config in inside]
        return pool([config for config in waiting if config not in inside], failures, [], done, bar)

    def sleep(seconds):
        waits.append(seconds)
        if becomes.pop(config := inside.pop(0)) == "finished":
            finish(config)

    monkeypatch.setattr(grid, "_attempt", attempt)
    monkeypatch.setattr(grid, "is_held", held)
    monkeypatch.setattr(grid, "holder", lambda path: "process 7 on x, since 1 May 10:00")
    monkeypatch.setattr(grid.time, "sleep", sleep)
    attempt.inside, attempt.becomes, attempt.waits = inside, becomes, waits
    return attempt


def test_what_another_process_has_in_hand_is_left_to_it_and_waited_for(pool, others, capsys):
    wanted = configs(4)
    others.inside += wanted[:2]
    others.becomes |= dict.fromkeys(wanted[:2], "finished")
    found = grid.ensure_runs(wanted, progress=False)
    assert [run.config for run in found] == wanted
    assert {config for call in pool.calls for config in call} == {*wanted[2:]}
    assert len(others.waits) == 2
    told = "Other processes have 2 of these runs in hand: waiting for process 7 on x"
    assert capsys.readouterr().out.count(told) == 1


def test_what_another_process_gave_up_is_done_here_once(pool, others):
    wanted = configs(3)
    others.inside += wanted[:2]
    others.becomes |= {wanted[0]: "given up", wanted[1]: "finished"}
    pool.failing[wanted[0]] = "It is broken."
    with pytest.raises(FedbenchError, match=r"1 of 3 runs could not be done.*It is broken"):
        grid.ensure_runs(wanted, progress=False)
    done = [config for call in pool.calls for config in call]
    assert sorted(config.seed for config in done) == [0, 2]


def test_a_defect_in_a_run_becomes_one_sentence_with_the_trace_in_a_file(monkeypatch):
    import multiprocessing

    def defect(config, report, wait):
        report(0.25)
        raise ZeroDivisionError("half way")

    monkeypatch.setattr("fedbench.running.run", defect)
    monkeypatch.setattr(grid, "_done", multiprocessing.get_context("spawn").Value("d", 0.0))
    (config,) = configs(1)
    with pytest.raises(FedbenchError, match=r"\(ZeroDivisionError\); please report it") as caught:
        grid._one(config)
    trace = (store.folder(config.id) / "error.txt").read_text()
    assert trace.startswith("Traceback")
    assert "in defect" in trace
    assert "half way" not in str(caught.value) + trace.replace('("half way")', "")
    assert grid._done.value == pytest.approx(1.0)


def test_a_damaged_run_is_done_again_and_its_file_is_named(pool, capsys):
    wanted = configs(1)
    finish(wanted[0])
    write_bytes(store.folder(wanted[0].id) / "items.parquet", b"")
    (done,) = grid.ensure_runs(wanted, progress=False)
    assert len(done.items)
    assert "items.parquet is not the file that was written" in capsys.readouterr().out


def test_a_damaged_run_that_cannot_be_done_again_is_not_drawn(pool):
    wanted = configs(2)
    for config in wanted:
        finish(config)
    write_bytes(store.folder(wanted[0].id) / "items.parquet", b"")
    pool.failing[wanted[0]] = "The disk is full."
    found = grid.ensure_runs(wanted, progress=False, missing_ok=True)
    assert [run.id for run in found] == [wanted[1].id]


def test_cores_are_counted_where_the_system_does_not_say_which_may_be_used(monkeypatch):
    monkeypatch.delattr(grid.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(grid.os, "cpu_count", lambda: 6)
    assert grid.cores_here() == 6
    monkeypatch.setattr(grid.os, "cpu_count", lambda: None)
    assert grid.cores_here() == 1


def test_runs_on_a_gpu_are_done_one_after_the_other():
    waiting = configs(3)
    assert grid.workers(waiting, 2) == 2
    assert grid.workers(waiting, 8) == 3
    assert grid.workers([*waiting, waiting[0].model_copy(update={"device": "cuda"})], 8) == 1


def test_the_tasks_are_audited_before_anything_is_run(pool, capsys):
    wanted = configs(2)
    grid.ensure_runs(wanted, progress=False)
    assert capsys.readouterr().out.count("audit of toy: ") == 1
    grid.ensure_runs(wanted, progress=False)
    assert "audit" not in capsys.readouterr().out
