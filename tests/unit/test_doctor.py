"""The doctor: each check tells what is broken, and what to do; nothing odd makes it fail."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedbench import doctor, store
from fedbench.cli import main
from fedbench.doctor import data, disk, environment, machine
from fedbench.doctor.finding import FAIL, NOTE, OK, Finding
from fedbench.paths import home, shipped
from tests.unit.test_store import save


def refusing(*given, **more):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), "somewhere")


@pytest.mark.timeout(120)
def test_all_is_told_in_lines_of_three_columns_and_only_failures_count(capsys, monkeypatch):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(doctor.CHECKS) + 2
    assert {line.split()[0] for line in lines[:-2]} <= {"ok", "note"}
    assert lines[-1] == "Nothing stands in the way."
    monkeypatch.setattr(
        doctor, "examine", lambda: [Finding("a", FAIL, "b"), Finding("c", NOTE, "d")]
    )
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 to be mended first."


def test_a_check_that_cannot_look_is_told_and_the_others_go_on():
    def odd():
        raise ZeroDivisionError("as never\nbefore")

    found = doctor.examine([odd, lambda: Finding("next", OK, "")])
    assert [one.state for one in found] == [NOTE, OK]
    assert "ZeroDivisionError: as never before" in found[0].told


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10, 1), FAIL), ((3, 12, 0), OK), ((3, 14, 0), FAIL)]
)
def test_python_must_be_one_of_those_supported(monkeypatch, version, state):
    monkeypatch.setattr(machine, "sys", SimpleNamespace(version_info=version))
    assert machine.python().state == state


def test_threads_that_are_not_set_are_a_note(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert machine.cores().state == OK
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert machine.cores().state == NOTE


def test_too_little_memory_is_told_with_what_is_needed(monkeypatch):
    monkeypatch.setattr(machine, "needed", lambda profile: [SimpleNamespace(memory=1e9)])
    monkeypatch.setattr(machine.grid, "cores_here", lambda: 4)
    for free, state in ((None, NOTE), (3.9e9, FAIL), (4e9, OK)):
        monkeypatch.setattr(machine, "available", lambda free=free: free)
        assert machine.memory().state == state


def test_a_clock_before_what_is_there_is_told(monkeypatch):
    assert machine.clock().state == OK
    monkeypatch.setattr(machine.time, "time", lambda: 1e9)
    assert "2001-09-09 is before the newest" in machine.clock().told


def test_a_counter_that_may_not_be_read_is_told_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "RAPL", tmp_path)
    monkeypatch.setattr(machine, "_nvml", lambda: False)
    assert machine.power().told.startswith("none")
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("1")
    assert machine.power().state == OK
    monkeypatch.setattr(machine.os, "access", lambda path, mode: False)
    assert "chmod" in machine.power().told


def test_libraries_that_are_gone_or_other_ones_are_told(monkeypatch, tmp_path):
    assert environment.libraries().state == OK
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==0.0.1\ntorch==0.1 ; sys_platform == 'linux'\n")
    monkeypatch.setattr(environment, "LOCK", lock)
    told = environment.libraries()
    assert (told.state, "not 0.0.1" in told.told, "make env" in told.told) == (NOTE, True, True)
    monkeypatch.setattr(environment, "_version", lambda name: None)
    assert environment.libraries().state == FAIL


def test_a_kernel_that_is_not_there_is_told(monkeypatch, tmp_path):
    assert environment.kernel().state == OK
    monkeypatch.setattr(environment, "KERNEL", "never-installed")
    assert "pip install ipykernel" in environment.kernel().told


def test_a_token_is_never_shown(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    told = environment.hub()
    assert told.state == NOTE
    assert "a token is set" in told.told
    assert "secret" not in told.told
    for name in environment._OFFLINE:
        monkeypatch.delenv(name, raising=False)
    assert environment.hub().state == OK


@pytest.mark.parametrize("check", [disk.room, disk.temporary])
def test_a_disk_that_is_nearly_full_is_told(monkeypatch, check):
    assert check().state == OK
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1e6))
    assert check().state == FAIL


@pytest.mark.parametrize("check", [disk.writing, disk.names, disk.locks])
@pytest.mark.parametrize("broken", ["os.replace", "os.fsync", "os.mkdir"])
def test_a_disk_that_cannot_be_written_is_told(monkeypatch, check, broken):
    home().mkdir(parents=True)
    assert check().state == OK
    monkeypatch.setattr(broken, refusing)
    assert check().state == (OK if check is disk.locks and broken != "os.mkdir" else FAIL)
    monkeypatch.undo()


def test_a_disk_without_case_or_locks_is_told(monkeypatch):
    real = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.name == "A" or real(path))
    assert disk.names().state == NOTE
    monkeypatch.setattr(
        disk.subprocess, "run", lambda *given, **more: SimpleNamespace(returncode=0)
    )
    assert "set FEDBENCH_HOME to a local one" in disk.locks().told


def test_a_home_of_somebody_else_is_told(monkeypatch):
    assert disk.own_home().state == OK
    monkeypatch.setattr(disk.os, "access", lambda path, mode: False)
    assert disk.own_home().state == FAIL


def test_nothing_is_left_behind_and_no_home_is_made(tmp_path):
    for check in disk.CHECKS:
        check()
    assert not home().exists()
    assert [path.name for path in home().parent.iterdir() if "doctor" in path.name] == []


def test_datasets_that_are_not_there_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("FEDBENCH_DATA", str(tmp_path / "nowhere"))
    assert data.datasets().state == FAIL
    monkeypatch.setenv("FEDBENCH_DATA", str(tmp_path))
    assert "fiqa_sa not found" in data.datasets().told
    monkeypatch.setattr(data, "is_local", lambda name: True)
    assert data.datasets().state == OK


def test_a_data_folder_that_is_none_does_not_keep_the_doctor_away(monkeypatch, capsys):
    monkeypatch.setenv("FEDBENCH_DATA", "/nowhere")
    monkeypatch.setattr(doctor, "examine", lambda: [data.datasets()])
    assert main(["doctor"]) == 1
    assert "which is no folder" in capsys.readouterr().out


def test_a_damaged_backbone_or_record_is_named_with_the_command_that_restores_it(
    monkeypatch, tmp_path
):
    assert data.backbones().state == OK
    assert data.recorded().state == OK
    shutil.copytree(shipped("backbones"), tmp_path / "backbones")
    path = tmp_path / "backbones" / "fedbench-qwen2" / "config.json"
    path.write_bytes(path.read_bytes() + b" ")
    monkeypatch.setattr(data, "shipped", lambda name: tmp_path / name)
    assert f"git checkout -- {path}" in data.backbones().told
    monkeypatch.setattr(store, "recorded_folders", lambda: [path.parent])
    assert data.recorded().state == FAIL


def test_own_runs_that_are_damaged_are_counted():
    assert data.own_runs().told.startswith("0 finished")
    save(0)
    (save(1).source / "items.parquet").write_bytes(b"")
    told = data.own_runs()
    assert told.state == NOTE
    assert "1 of 2 damaged" in told.told
    assert "items.parquet" in told.told


def test_gpus_and_power_are_looked_for_without_any(monkeypatch):
    def gone(*given, **more):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(subprocess, "run", gone)
    assert not machine._nvml()
    assert machine.gpu().state in (OK, NOTE)
    assert machine.available() is None or machine.available() > 0
    assert time.time() > 0
