"""A federation's log is appended to, and a checkpoint's mark tells how much of it counts."""

from __future__ import annotations

import errno
import math
import os

import pytest

from fedbench import files
from fedbench.errors import FedbenchError
from fedbench.log_file import Mark, appended, read_log

RECORDS = [{"round": number, "loss": number / 3, "cohort": ["a\n", "ä"]} for number in range(5)]


START = Mark()


def write(path, records, mark=START):
    for record in records:
        mark = appended(path, mark, record)
    return mark


def test_what_was_appended_is_read_back(tmp_path):
    mark = write(tmp_path / "new" / "log", RECORDS)
    assert read_log(tmp_path / "new" / "log", mark) == RECORDS
    assert read_log(tmp_path / "none", START) == []


def test_values_that_json_does_not_know_come_back(tmp_path):
    mark = write(tmp_path / "log", [{"loss": math.inf}, {"loss": -0.0}])
    assert [str(record["loss"]) for record in read_log(tmp_path / "log", mark)] == ["inf", "-0.0"]


def test_what_stands_behind_the_mark_does_not_count_and_is_overwritten(tmp_path):
    path = tmp_path / "log"
    mark = write(path, RECORDS[:2])
    write(path, RECORDS[2:], mark)
    with path.open("ab") as handle:
        handle.write(b'{"torn')
    assert read_log(path, mark) == RECORDS[:2]
    assert read_log(path, write(path, RECORDS[4:], mark)) == [*RECORDS[:2], RECORDS[4]]
    assert path.stat().st_size == write(tmp_path / "other", [*RECORDS[:2], RECORDS[4]]).size


def test_a_round_writes_its_own_record_and_no_other(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(
        "fedbench.log_file.append_bytes", lambda path, size, content: sizes.append(len(content))
    )
    write(tmp_path / "log", [RECORDS[0]] * 50)
    assert len(set(sizes)) == 1


@pytest.mark.parametrize("damage", ["flipped", "shorter", "missing", "of another federation"])
def test_a_log_that_is_not_what_was_written_is_told(tmp_path, damage):
    path = tmp_path / "log"
    mark = write(path, RECORDS)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[20] ^= 1
        path.write_bytes(content)
    elif damage == "shorter":
        path.write_bytes(content[:-1])
    elif damage == "missing":
        path.unlink()
    else:
        write(path, [*RECORDS[1:], RECORDS[0]])
        assert path.stat().st_size == mark.size
    with pytest.raises(FedbenchError, match=r"log is damaged: remove it and all else"):
        read_log(path, mark)


def test_a_full_disk_is_one_sentence_and_leaves_what_the_mark_covers(tmp_path, monkeypatch):
    path = tmp_path / "log"
    mark = write(path, RECORDS[:2])

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(FedbenchError, match="could not be written"):
        appended(path, mark, RECORDS[2])
    assert read_log(path, mark) == RECORDS[:2]
