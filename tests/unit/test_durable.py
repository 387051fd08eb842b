"""Files and folders outlast a loss of power, and only what nobody writes any more is swept away."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fedbench import durable
from fedbench.durable import make_folder, remove, replace, sweep, temporary_file, temporary_folder
from fedbench.files import appearing, write_bytes

NAME = ".file.0123456789abcdef"


@pytest.fixture
def synced(monkeypatch):
    """Paths that were synced, in order."""
    found, real = [], os.fsync

    def fsync(opened):
        found.append(os.readlink(f"/proc/self/fd/{opened}"))
        return real(opened)

    monkeypatch.setattr(os, "fsync", fsync)
    return found


def test_what_a_killed_writer_left_is_swept_away(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from fedbench.durable import *\n"
        "with temporary_file(Path(sys.argv[1]) / 'file', 0o666), "
        "temporary_folder(Path(sys.argv[1]) / 'folder') as folder:\n"
        "    (folder / 'inside').write_bytes(b'x'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert len(os.listdir(tmp_path)) == 2
    sweep(tmp_path.iterdir())
    assert os.listdir(tmp_path) == []


def test_what_a_live_writer_holds_stays(tmp_path):
    with temporary_file(tmp_path / "x", 0o666) as (file, _), temporary_folder(tmp_path / "y") as y:
        sweep(tmp_path.iterdir())
        assert sorted(tmp_path.iterdir()) == sorted([file, y])
        file.unlink()
        y.rmdir()


@pytest.mark.parametrize("name", ["file", ".file", ".file.0123", "file.0123456789abcdef", "lock"])
def test_other_files_are_never_swept_away(tmp_path, name):
    (tmp_path / name).touch()
    sweep(tmp_path.iterdir())
    assert os.listdir(tmp_path) == [name]


def test_a_writer_whose_file_is_swept_away_before_it_holds_it_makes_another(tmp_path, monkeypatch):
    real, swept = durable._hold, []

    def late(opened, *, wait):
        if wait and not swept:
            swept.extend(tmp_path.iterdir())
            sweep(swept)
        return real(opened, wait=wait)

    monkeypatch.setattr(durable, "_hold", late)
    write_bytes(tmp_path / "file", b"content")
    assert len(swept) == 1
    assert os.listdir(tmp_path) == ["file"]


def test_without_locks_files_are_written_and_nothing_is_swept_away(tmp_path, monkeypatch):
    def refuse(opened, how):
        raise OSError("no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    (tmp_path / NAME).touch()
    write_bytes(tmp_path / "file", b"content")
    sweep(tmp_path.iterdir())
    assert sorted(os.listdir(tmp_path)) == [NAME, "file"]


def test_a_new_folder_is_synced_into_each_of_those_above_it(tmp_path, synced):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert synced == [str(tmp_path), str(tmp_path / "a")]


def test_a_file_is_synced_before_it_has_its_name_and_its_folder_afterwards(tmp_path, synced):
    (tmp_path / "old").touch()
    replace(tmp_path / "old", tmp_path / "new")
    remove(tmp_path / "new")
    remove(tmp_path / "new")
    assert synced == [str(tmp_path / "old"), str(tmp_path), str(tmp_path)]


def test_all_of_a_folder_is_synced_before_it_appears(tmp_path, synced):
    with appearing(tmp_path / "made") as draft:
        (draft / "part").mkdir()
        (draft / "part" / "file").touch()
    inside = {str(draft), str(draft / "part"), str(draft / "part" / "file")}
    assert set(synced[:3]) == inside
    assert synced[3:] == [str(tmp_path)]
    assert os.listdir(tmp_path) == ["made"]


def test_what_killed_exports_left_is_swept_away_by_the_next(tmp_path):
    (tmp_path / ".made.0123456789abcdef").mkdir()
    (tmp_path / ".other.0123456789abcdef").mkdir()
    with appearing(tmp_path / "made"):
        pass
    assert sorted(os.listdir(tmp_path)) == [".other.0123456789abcdef", "made"]
