"""A file is there as it was or as it should be, and a full disk is told in one sentence."""

from __future__ import annotations

import errno
import json
import os
import stat

import pytest

from fedbench import files
from fedbench.errors import Damaged, FedbenchError
from fedbench.files import (
    on_disk,
    private_folder,
    read_json,
    write_bytes,
    write_json,
    write_plain_json,
)


def fail_with(code):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    return fail


def test_what_was_written_is_read_back(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    write_bytes(path, b"content")
    assert path.read_bytes() == b"content"


def test_json_is_written_for_people_and_read_back(tmp_path):
    write_json(tmp_path / "x.json", {"b": [1.5, None], "a": "ä"})
    assert read_json(tmp_path / "x.json") == {"a": "ä", "b": [1.5, None]}
    assert (tmp_path / "x.json").read_text().startswith('{\n "a"')


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(tmp_path, monkeypatch, moment, code):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    monkeypatch.setattr(files.os, moment, fail_with(code))
    with pytest.raises(FedbenchError) as caught:
        write_bytes(path, b"new")
    assert str(path) in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_read_only_folder_is_one_sentence(tmp_path, monkeypatch, code):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    monkeypatch.setattr("pathlib.Path.open", fail_with(code))
    monkeypatch.setattr("pathlib.Path.mkdir", fail_with(code))
    with pytest.raises(FedbenchError, match="make the folder writable"):
        write_bytes(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path):
    write_bytes(tmp_path / "file", b"")
    with pytest.raises(FedbenchError, match="could not be written"):
        write_bytes(tmp_path / "file" / "below", b"")


def test_being_stopped_while_writing_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def stop(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_others_may_read_what_was_written(tmp_path):
    before = os.umask(0o022)
    try:
        write_bytes(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_any_digit_of_a_json_file_that_changes_is_noticed(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"value": 12.5, 3: [True, None], "named": {"ä": "b"}})
    whole = read_json(path)
    assert whole == {"value": 12.5, "3": [True, None], "named": {"ä": "b"}}
    content = path.read_bytes()
    told = 0
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        try:
            found = read_json(path)
        except Damaged:
            told += 1
            continue
        # Of what means nothing, such as the name of the checksum's own field.
        assert {key: found[key] for key in whole} == whole
    assert told > 0.8 * len(content)


def test_json_for_others_is_written_without_a_checksum(tmp_path):
    write_plain_json(tmp_path / "x.json", {"a": 1})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}


def test_a_failing_disk_is_not_told_to_be_full(tmp_path):
    with (
        pytest.raises(FedbenchError, match=r"x could not be used .*may be failing"),
        on_disk(tmp_path),
    ):
        raise OSError(errno.EIO, os.strerror(errno.EIO), "x")


@pytest.mark.parametrize("content", ["", "{", '{"a": 1'])
def test_a_file_that_is_not_json_is_named(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(FedbenchError, match=r"x\.json cannot be read as JSON"):
        read_json(tmp_path / "x.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FedbenchError, match=r"x\.json is missing"):
        read_json(tmp_path / "x.json")


def test_a_private_folder_is_its_owners_alone_also_if_it_was_there_before(tmp_path):
    for folder in (tmp_path / "a" / "new", tmp_path):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        private_folder(folder)
        assert folder.stat().st_mode & 0o777 == 0o700
    private_folder(tmp_path / "other")
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o700
