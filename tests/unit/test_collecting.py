"""What gc removes can be computed again; what is in use, a result or a ledger never goes."""

from __future__ import annotations

import os
import time

import pytest

from fedbench import cli, collecting, locks, store
from fedbench.collecting import collect
from fedbench.config import RunConfig
from fedbench.durable import temporary_file
from fedbench.errors import FedbenchError
from fedbench.locks import locked
from fedbench.paths import home

DAY = 86400
TEMPORARY = ".checkpoint.0123456789abcdef"
PLANNED, OTHER = (RunConfig(task="toy", compute="plain", seed=seed) for seed in (1, 2))


@pytest.fixture(autouse=True)
def world(tmp_path, monkeypatch):
    """One run is planned; the code has moved for the runs whose ids are in what is returned."""
    stale = set()
    monkeypatch.setattr(collecting, "_planned", lambda: {PLANNED.id: PLANNED})
    monkeypatch.setattr(collecting, "is_here", lambda config: True)
    monkeypatch.setattr(collecting, "work_key", lambda config: "today")
    monkeypatch.setattr(collecting, "moved", lambda run: "code" if run.id in stale else "")
    return stale


def put(path, *, age=0.0):
    """A file that was last touched ``age`` days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"1234")
    os.utime(path, (time.time() - age * DAY,) * 2)
    return path


def finish(config):
    import pandas as pd

    items = pd.DataFrame({"item": ["a"], "scores": [[0.0]]})
    return store.save(store.folder(config.id), config, {}, [], [], {}, items)


def gone(*paths, **options):
    """Whether just these things are found, and go when they are to be removed, each once."""
    found = {one.path for one in collect(**options).waste}
    assert found == {*paths}
    assert all(path.exists() for path in paths)
    assert sorted(one.path for one in collect(**options, remove=True).waste) == sorted(paths)
    assert not any(path.exists() for path in paths)
    return True


def test_what_a_killed_process_left_of_a_finished_run_goes_and_its_result_stays():
    folder = finish(PLANNED).source
    put(folder / "work" / "today" / "federations" / "global" / "checkpoint")
    assert gone(
        folder / "work", put(folder / "error.txt"), put(folder / TEMPORARY),
        put(folder / "adapters" / ".global.safetensors.00ff00ff00ff00ff"),
    )  # fmt: skip
    assert store.load(PLANNED.id).config == PLANNED
    assert collect(days=0, stale=True).waste == ()


def test_checkpoints_that_other_code_made_go_and_those_of_today_stay():
    work = store.folder(PLANNED.id) / "work"
    kept = put(work / "today" / "federations" / "global" / "checkpoint", age=1000)
    put(work / "before" / "federations" / "global" / "checkpoint")
    torn = put(work / "today" / "federations" / "global" / TEMPORARY)
    put(work / "before" / TEMPORARY)
    assert gone(work / "before", torn)
    assert kept.exists()


def test_a_stale_run_that_is_being_done_again_keeps_its_checkpoint_and_its_result(world):
    world.add(PLANNED.id)
    kept = put(finish(PLANNED).source / "work" / "today" / "checkpoint")
    assert collect(days=0, stale=True, remove=True).waste == ()
    assert kept.exists()
    assert store.exists(PLANNED.id)


def test_unfinished_work_that_nobody_plans_goes_only_after_some_days():
    old, new = (store.folder(name) for name in ("0" * 16, "1" * 16))
    put(old / "work" / "any" / "checkpoint", age=31)
    put(old / "error.txt", age=40)
    put(new / "work" / "any" / "checkpoint", age=29)
    assert gone(old)
    assert collect(days=28).waste[0].path == new


@pytest.mark.parametrize("finished", [False, True])
def test_work_with_a_privacy_ledger_never_goes(finished, world):
    if finished:
        finish(OTHER)
        world.add(OTHER.id)
    work = store.folder(OTHER.id) / "work"
    ledger = put(work / "before" / "sites" / "a" / "privacy.json", age=1000)
    put(work / "before" / "checkpoint", age=1000)
    assert collect(days=0, stale=True, remove=True).waste == ()
    assert ledger.exists()


def test_what_a_process_has_in_hand_is_left_alone_and_told():
    folder = finish(PLANNED).source
    put(folder / "work" / "today" / "checkpoint")
    with locked(store.lock(PLANNED.id)):
        found = collect(days=0, stale=True, remove=True)
    assert found.waste == ()
    assert f"{folder}: process {os.getpid()} on " in found.in_use[0]
    assert (folder / "work").exists()


def test_stale_results_go_if_asked_and_no_profile_plans_them(world):
    for config in (PLANNED, OTHER):
        finish(config)
    assert collect(days=0, stale=True).waste == ()
    world.update({PLANNED.id, OTHER.id})
    assert collect(days=0).waste == ()
    assert gone(store.folder(OTHER.id), stale=True)
    assert [run.config for run in store.finished() if not run.recorded] == [PLANNED]


def test_a_damaged_result_is_not_for_gc_to_judge(world):
    folder = finish(OTHER).source
    world.add(OTHER.id)
    put(folder / "items.parquet")
    put(folder / "work" / "before" / "checkpoint")
    assert collect(days=0, stale=True).waste == ()


def test_temporaries_of_killed_processes_go_and_those_of_live_ones_stay():
    draft = put(home() / "untrained" / ".llama-1a.0123456789abcdef" / "llama-1a" / "config.json")
    put(home() / "energy" / ".hidden", age=1000)
    put(home() / "energy" / ".coverage.machine1", age=1000)
    left = put(home() / "energy" / ".smoke.json.f123456789abcdef")
    with temporary_file(home() / "energy" / "smoke.json", 0o600) as (written, _):
        os.utime(written, (0, 0))  # as of a copy of an old file
        assert gone(draft.parents[1], left)
        assert written.exists()
        written.unlink()


def test_half_executed_notebooks_go_at_once_and_failed_ones_after_some_days():
    folder = home() / "notebooks" / "smoke"
    put(folder / "01.ipynb", age=1000)
    put(folder / "02.failed.ipynb")
    half, old = put(folder / "02.running.ipynb"), put(folder / "03.failed.ipynb", age=31)
    with locked(folder.with_name("smoke.lock")):
        assert collect().waste == ()
    assert gone(half, old)


def test_caches_go_after_some_days_unless_they_are_in_use():
    put(home() / "untrained" / "new" / "config.json")
    cache = put(home() / "untrained" / "old" / "config.json", age=31).parent
    with locked(cache.with_name("old.lock")):
        assert collect().waste == ()
    assert gone(cache)


def test_a_run_whose_data_cannot_be_read_ends_no_tidying(monkeypatch):
    def unreadable(config):
        raise FedbenchError("rows is no table.")

    monkeypatch.setattr(collecting, "work_key", unreadable)
    put(store.folder(PLANNED.id) / "work" / "before" / "checkpoint", age=31)
    assert collect().waste == ()


def test_what_was_removed_stays_removed_with_its_lock():
    folder = put(store.folder("0" * 16) / "work" / "before" / "checkpoint", age=31).parents[2]
    assert gone(folder)


def test_where_locks_are_markers_the_one_held_makes_no_folder_new(monkeypatch):
    monkeypatch.setattr(locks, "_has_flock", lambda folder: False)
    folder = put(store.folder("0" * 16) / "work" / "before" / "checkpoint", age=31).parents[2]
    assert [one.path for one in collect(remove=True).waste] == [folder]
    assert not folder.exists()


def test_nothing_is_removed_before_it_is_said_to(capsys):
    folder = finish(PLANNED).source
    put(folder / "work" / "today" / "checkpoint")
    assert cli.main(["gc"]) == 0
    told = capsys.readouterr().out
    assert f"{folder / 'work'}: its run is finished" in told
    assert "1 things, 0.00 MB, can go: nothing was removed yet" in told
    assert (folder / "work").exists()
    assert cli.main(["gc", "--yes"]) == 0
    assert "Removed 1 things" in capsys.readouterr().out
    assert not (folder / "work").exists()
    assert cli.main(["gc"]) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_the_runs_that_shipped_profiles_plan_are_known(monkeypatch):
    monkeypatch.undo()
    from fedbench import profiles

    (first, *_) = profiles.load("smoke").runs
    assert collecting._planned()[first.id] == first
