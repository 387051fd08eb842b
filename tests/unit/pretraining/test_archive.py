"""Fetching packages of the archive."""

import shutil
from pathlib import Path

import pytest

from fedbench.errors import FedbenchError
from fedbench.locks import locked
from fedbench.pretraining import archive
from fedbench.pretraining.corpus import capped
from fedbench.pretraining.sources import SOURCES


def test_a_system_without_apt_gets_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    with pytest.raises(FedbenchError, match="is not installed here"):
        archive.require_apt()


def test_a_downloaded_package_is_not_fetched_again(tmp_path: Path) -> None:
    kept = tmp_path / "toy_1.0_all.deb"
    kept.touch()
    assert archive.fetch("toy", tmp_path) == kept


def test_an_unpacked_package_is_left_alone(tmp_path: Path) -> None:
    assert archive.unpack(tmp_path / "absent.deb", tmp_path) == tmp_path


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FedbenchError, match="could not be written"):
        archive.fetch("toy", tmp_path / "file" / "packages")
    with pytest.raises(FedbenchError, match="could not be written"):
        archive.unpack(tmp_path / "toy.deb", tmp_path / "file" / "toy")


def test_two_processes_cannot_work_on_one_run(tmp_path: Path) -> None:
    lock = tmp_path / "toy.lock"
    with (
        locked(lock, wait=False),
        pytest.raises(FedbenchError, match="Another process"),
        locked(lock, wait=False),
    ):
        pytest.fail("the lock was taken twice")
    with locked(lock, wait=False):
        pass


def test_a_capped_source_is_a_fixed_random_choice() -> None:
    documents = [str(number) * 10 for number in range(10)]
    assert capped(documents, 55) == capped(documents, 55)
    assert len(capped(documents, 55)) == 5


def test_no_package_is_listed_twice() -> None:
    packages = [source.package for source in SOURCES]
    assert len(packages) == len(set(packages))
