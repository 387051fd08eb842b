"""Hundreds of runs in one process, thousands of rounds in one run: nothing piles up."""

from __future__ import annotations

import pytest

from fedbench.config import RunConfig
from fedbench.resolving import resolve
from tests.campaigns.measuring import growth, watched

KB, MB = 1024, 1024**2
RESULTS = {"adapters", "items.parquet", "lock", "manifest.json", "partition.json", "run.json"}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def _rounds(home, note, options, every):
    """One run; a note after every so many rounds."""
    from fedbench.running import run

    config = resolve(RunConfig.model_validate(options))
    done = 0

    def report(share):
        nonlocal done
        done += 1
        if done % every == 0:
            note(done)

    found = run(config, report)
    assert len(found.rounds) == done == config.rounds
    assert not (found.source / "work").exists()


#: What sites and server keep between rounds: nothing, control variates, what a codec owes.
KINDS = {
    "plain": {},
    "control variates": {"rule": "scaffold", "optimizer": "sgd"},
    "error feedback": {"codec": "ef+top-k:share=0.1", "participation": 0.5},
}


@pytest.mark.parametrize(("kind", "full"), [*zip(KINDS, (1400, 300, 300), strict=True)])
def test_rounds_cost_the_same_however_many_came_before(campaign, toy, tmp_path, kind, full):
    rounds = campaign.size(sample=60, full=full)
    options = {**toy, "rounds": rounds, "passes": rounds / 20, "batch_size": 4, **KINDS[kind]}
    found = watched(_rounds, tmp_path / "run", options, rounds // 20)
    assert len(found) == 20
    quarter = rounds // 4
    grown = {
        field: growth(found, field, warm=quarter) for field in ("memory", "written", "disk", "logs")
    }
    early = growth([one for one in found if one.at <= rounds // 2], "written", warm=quarter // 2)
    campaign.count(
        rounds=rounds,
        megabytes_at_first=round(found[4].memory / MB, 1),
        megabytes_at_last=round(found[-1].memory / MB, 1),
        open_files_at_first=found[0].files,
        open_files_at_last=found[-1].files,
        kilobytes_on_disk_at_first=round(found[4].disk / KB, 1),
        kilobytes_on_disk_at_last=round(found[-1].disk / KB, 1),
        kilobytes_written_per_round_at_first=round(early / KB, 2),
        kilobytes_written_per_round_at_last=round(grown["written"] / KB, 2),
        bytes_of_log_per_round=round(grown["logs"]),
    )
    assert len({one.files for one in found}) == 1
    # A round passes on some 50 KB of states; its record of 400 bytes takes a few KB in memory.
    assert grown["memory"] < 16 * KB
    assert grown["logs"] < KB
    assert grown["disk"] < 1  # a digit more in a header, now and then
    assert grown["written"] == pytest.approx(early, rel=0.01)
    assert early > 10 * KB


def _runs(home, note, toy, count, every):
    """Runs that have hardly anything in common; a note after every so many of them."""
    from fedbench.running import run

    kinds = [
        {"setting": setting, "method": method}
        for setting in ("federated", "local", "centralized")
        for method in ("lora", "ia3")
    ]
    for number in range(count):
        options = {**toy, "rounds": 2, "passes": 2, "seed": number, **kinds[number % len(kinds)]}
        run(resolve(RunConfig.model_validate(options)))
        if (number + 1) % every == 0:
            note(number + 1)


def test_runs_leave_nothing_behind_but_their_results(campaign, toy, tmp_path):
    runs = campaign.size(sample=24, full=300)
    found = watched(_runs, tmp_path / "runs", toy, runs, 6)
    home = tmp_path / "runs" / "home"
    folders = [*home.glob("runs/*")]
    left = {path.name for folder in folders for path in folder.iterdir()} - RESULTS
    warm = runs // 3
    grown = {field: growth(found, field, warm=warm) for field in ("memory", "disk")}
    campaign.count(
        runs=runs,
        megabytes_at_first=round(next(one for one in found if one.at >= warm).memory / MB, 1),
        megabytes_at_last=round(found[-1].memory / MB, 1),
        open_files_at_first=found[0].files,
        open_files_at_last=found[-1].files,
        kilobytes_on_disk_per_run=round(grown["disk"] / KB, 1),
    )
    # An adapter has 26 KB, a run's items and scores as much; and a megabyte may be kept once.
    assert grown["memory"] < 16 * KB + MB / (runs - warm)
    assert len(folders) == runs
    assert not left
    assert [path.name for path in home.iterdir()] == ["runs"]
    assert len({one.files for one in found}) == 1
