from __future__ import annotations

import json
import subprocess

import pytest

from fedbench import grid
from fedbench.cli import main
from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json
from fedbench.locks import is_held
from fedbench.report import verify as verifying
from fedbench.report.claim_file import digest, read_claims
from fedbench.report.verify import (
    BEGIN,
    END,
    NO_RECORD,
    README,
    block,
    claims_table,
    differences,
    read_recorded,
    verify,
    when_fixed,
    write_readme,
)

STATED = read_claims()


@pytest.fixture
def checkout(runs, tmp_path, monkeypatch):
    """A checkout without a recorded verdict, and a profile whose runs are all there."""
    (tmp_path / "README.md").write_text(f"before\n\n{BEGIN}\nyesterday\n{END}\n\nafter\n")
    monkeypatch.setattr(verifying, "README", tmp_path / "README.md")
    monkeypatch.setattr(verifying, "RECORDED", tmp_path / "verdicts.json")
    monkeypatch.setattr(grid, "found", lambda profile: runs)
    monkeypatch.setattr(grid, "planned", lambda profile: [run.config for run in runs])
    monkeypatch.setattr(grid, "ensure_runs", None)  # nothing may be run
    return tmp_path


def test_verdicts_that_were_never_recorded_are_not_the_recorded_ones(checkout, capsys):
    assert not verify("cpu", checkout)

    assert "No verdict is recorded for this profile" in capsys.readouterr().out
    assert not (checkout / "verdicts.json").exists()


def test_accepted_verdicts_are_the_recorded_ones_from_then_on(checkout, capsys):
    assert verify("cpu", checkout, accept=True)
    assert verify("cpu", checkout)

    assert "The verdicts of cpu are the recorded ones." in capsys.readouterr().out


def test_verdicts_are_accepted_one_process_after_the_other(checkout, monkeypatch):
    held, write = [], verifying.write_json

    def writing(path, value):
        held.append((path.name, is_held(checkout / ".lock")))
        write(path, value)

    monkeypatch.setattr(verifying, "write_json", writing)
    assert verify("cpu", checkout, accept=True)
    assert held == [("claims.json", False), ("verdicts.json", True)]


@pytest.mark.parametrize("accept", [False, True])
def test_without_runs_nothing_is_verified_and_nothing_is_written(checkout, monkeypatch, accept):
    (checkout / "claims.json").write_text("as committed")
    monkeypatch.setattr(grid, "found", lambda profile: [])
    with pytest.raises(FedbenchError, match=r"None of the 32 runs of cpu is there.*make figures"):
        verify("cpu", checkout, accept=accept)
    assert (checkout / "claims.json").read_text() == "as committed"
    assert not (checkout / "verdicts.json").exists()


def test_verdicts_are_not_accepted_while_runs_are_missing(checkout, runs, monkeypatch):
    monkeypatch.setattr(grid, "found", lambda profile: runs[1:])
    with pytest.raises(FedbenchError, match=r"not recorded, because 1 .* runs are not there"):
        verify("cpu", checkout, accept=True)
    assert not (checkout / "verdicts.json").exists()


def test_a_verdict_that_is_not_as_recorded_is_told(checkout, capsys):
    verify("cpu", checkout, accept=True)
    path = checkout / "verdicts.json"
    word = "C2, common test items"
    kept = read_json(path)
    found = kept["cpu"]["parts"][word]["verdict"]
    kept["cpu"]["parts"][word]["verdict"] = "does not hold, or so"
    write_json(path, kept)

    assert not verify("cpu", checkout)
    assert f"{word}: {found}, recorded as: does not hold, or so" in capsys.readouterr().out


def test_a_check_that_fails_is_told_and_nothing_can_be_accepted(checkout, monkeypatch, capsys):
    def fail(cells):
        raise FedbenchError("scores are wrong.")

    verify("cpu", checkout, accept=True)
    monkeypatch.setattr(verifying, "_CHECKS", {"scores": fail})

    assert not verify("cpu", checkout)
    assert "check: scores: scores are wrong." in capsys.readouterr().out
    with pytest.raises(FedbenchError, match="were not recorded, because a validity check failed"):
        verify("cpu", checkout, accept=True)


def test_claims_json_holds_every_verdict_with_its_numbers_and_runs(checkout, runs):
    verify("cpu", checkout)
    told = json.loads((checkout / "claims.json").read_text())

    assert told["rule"] == {
        "least_gain": 0.05, "points": 0.03, "share": 0.2, "digest": digest(STATED),
    }  # fmt: skip
    assert set(told["checks"].values()) == {"passed"}
    assert told["claims"]["C1"].keys() == {
        "sentence", "source", "table", "command", "time", "hardware",
    }  # fmt: skip
    beaten = next(part for part in told["parts"] if part["claim"] == "C2" and part["cells"])
    assert {"mean", "low", "high", "n_seeds", "n_test", "reason", "verdict"} <= beaten["cells"][
        0
    ].keys()
    assert set(beaten["cells"][0]["runs"]) <= {run.id for run in runs}


def test_look_alikes_never_get_a_verdict_on_a_claim(checkout, capsys):
    verify("cpu", checkout)
    told = json.loads((checkout / "claims.json").read_text())
    words = {
        cell["verdict"] for part in told["parts"] for cell in part["cells"] if cell["synthetic"]
    }

    assert words
    assert all(word.startswith("machinery check") for word in words)


def measured(moved, task="fpb"):
    """A record in which IA3 needs half of LoRA's energy on a task."""
    about = {"task": task, "backbone": "fedbench-llama", "compute": "plain"}
    about |= {"setting": "federated", "partition": {"kind": "iid", "sites": 4}}
    runs = [
        {
            "method": method, "repeat": repeat, "config": about | {"method": method},
            "joules": {"train": {"cpu": joules}}, "how": {"cpu": "measured (RAPL)"},
            "tokens": 1, "peak_memory_bytes": {"train": 1},
        }
        for method, joules in (("lora", 2.0), ("ia3", 1.0))
        for repeat in range(3)
    ]  # fmt: skip
    return {"measurements": runs, "moved": moved}


@pytest.mark.parametrize(("task", "kept"), [("fpb", True), ("lookalike_fpb", False)])
def test_what_a_machine_measured_of_look_alikes_is_told_and_not_recorded(
    checkout, monkeypatch, capsys, task, kept
):
    monkeypatch.setattr(verifying, "energy_record", lambda profile: measured(False, task))
    verify("cpu", checkout, accept=True)
    assert "IA3's energy" in capsys.readouterr().out
    cells = [
        cell
        for key, part in read_recorded(checkout / "verdicts.json")["cpu"]["parts"].items()
        if "IA3's energy" in key
        for cell in part["cells"]
    ]
    assert any(cell.startswith(f"{task} ") for cell in cells) == kept


@pytest.mark.parametrize("moved", [False, True])
def test_energy_that_was_measured_with_other_code_is_said_to_be(
    checkout, monkeypatch, capsys, moved
):
    monkeypatch.setattr(verifying, "energy_record", lambda profile: measured(moved))
    verify("cpu", checkout)
    said = capsys.readouterr().out

    assert "share saved = +50.0 [+50.0, +50.0] %, 3 repeats: saves 50.0 % of energy" in said
    assert ("note: Energy and peak memory: Measured with other code" in said) == moved


def test_without_trained_runs_every_verdict_is_undecided(checkout, runs, monkeypatch, capsys):
    base = [run for run in runs if run.config.setting == "base"]
    monkeypatch.setattr(grid, "found", lambda profile: base)
    verify("cpu", checkout)
    told = json.loads((checkout / "claims.json").read_text())
    cells = [cell for part in told["parts"] for cell in part["cells"]]

    assert {cell["verdict"] for cell in cells} == {
        "cannot be decided", "machinery check not decided",
    }  # fmt: skip
    assert all(cell["reason"].startswith("not run: ") for cell in cells)
    assert f"{len(base)} of 32 runs are there" in capsys.readouterr().out


def test_another_margin_makes_the_record_void():
    record = {"rule": "0123", "parts": {}}

    assert "with other tests or margins" in differences(record, record | {"rule": "4567"})[0]


def test_cells_that_came_or_went_are_told():
    def record(*cells):
        return {"rule": "0", "parts": {"C1": {"verdict": "holds", "cells": list(cells)}}}

    assert differences(record("fpb: holds"), record("fpb: holds", "medqa: holds")) == [
        "C1, medqa: holds, recorded as: absent"
    ]
    assert differences(record("fpb: holds"), record("fpb: does not hold")) == [
        "C1, fpb: does not hold, recorded as: holds"
    ]


def test_the_table_of_claims_replaces_what_stood_between_the_comments(checkout):
    verify("cpu", checkout, accept=True)
    text = (checkout / "README.md").read_text()

    assert text.startswith(f"before\n\n{BEGIN}\n| claim |")
    assert text.endswith(f"{END}\n\nafter\n")
    assert "yesterday" not in text
    assert (
        block(checkout / "README.md")[1].strip()
        == claims_table(STATED, read_recorded(checkout / "verdicts.json")).strip()
    )


def test_writing_the_table_twice_changes_nothing(checkout):
    path = checkout / "README.md"
    write_readme(path, STATED, {})
    once = path.read_text()
    write_readme(path, STATED, {})

    assert path.read_text() == once


def test_a_readme_without_the_comments_is_left_alone(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("nothing here\n")

    with pytest.raises(FedbenchError, match="restore it"):
        write_readme(path, STATED, {})
    assert path.read_text() == "nothing here\n"


def test_a_profile_without_a_record_is_said_to_have_none():
    table = claims_table(STATED, {})

    assert table.count(NO_RECORD) == 2 * sum(len(claim.parts) for claim in STATED.claims)


def test_the_readme_says_what_is_recorded():
    """Mend it with ``python -m fedbench verify --profile P --accept``, which writes both."""
    assert block(README)[1] == f"\n{claims_table(STATED, read_recorded())}"


def test_recorded_verdicts_were_reached_with_the_margins_of_today():
    assert {record["rule"] for record in read_recorded().values()} <= {digest(STATED)}


@pytest.mark.parametrize(
    ("committed", "said"),
    [
        ("2026-01-01T10:00:00+01:00", "+01:00, before the first of these runs began (2026-01-01T"),
        ("2026-01-01T12:00:00+01:00", "+01:00, AFTER the first of these runs began (2026-01-01T"),
        ("", "are not committed"),
    ],
)
def test_it_is_said_whether_the_margins_came_first(save, config, monkeypatch, committed, said):
    run = save(config("federated"))
    object.__setattr__(run, "provenance", {"started": "2026-01-01T10:30:00Z"})
    answers = {"log": committed, "status": ""}
    monkeypatch.setattr(verifying, "git", lambda command, *rest: answers[command])

    assert said in when_fixed([run])


def test_a_claims_file_with_changes_of_today_is_not_dated_by_its_last_commit(monkeypatch):
    answers = {"log": "2026-01-01T10:00:00+01:00", "status": " M data/claims.yml"}
    monkeypatch.setattr(verifying, "git", lambda command, *rest: answers[command])

    assert "are not committed" in when_fixed([])


@pytest.mark.parametrize(("equal", "status"), [(True, 0), (False, 1)])
def test_the_command_ends_with_0_only_if_all_is_as_recorded(monkeypatch, equal, status):
    monkeypatch.setattr(verifying, "verify", lambda profile, folder, accept: equal)

    assert main(["verify", "--profile", "tiny"]) == status


def test_the_commit_of_the_margins_can_be_asked_of_git():
    found = subprocess.run(["git", "--version"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip("git is not installed")

    assert "margins" in when_fixed([])
