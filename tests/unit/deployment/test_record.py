"""What left a site is written down before it leaves, and a record that was touched is found out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbench.cli import main
from fedbench.deployment import record
from fedbench.deployment.record import FIRST, Entry, append, entries, verify
from fedbench.errors import Damaged, FedbenchError

ONE = Entry("2026-01-31T12:00:00+00:00", "a" * 16, 0, "update", 1000, "b" * 64, "c" * 16, 0.1)


def written(path, count=5):
    """A record of so many entries; the hash of each."""
    return [append(path, replace(ONE, round=number, bytes=number)) for number in range(count)]


@pytest.fixture(scope="module")
def record_of_five(tmp_path_factory):
    path = tmp_path_factory.mktemp("site") / "record.jsonl"
    return path, written(path), path.read_bytes(), path.with_suffix(".head").read_bytes()


@pytest.fixture
def restored(record_of_five):
    """The record as it was, whatever an example before did to it."""
    path, hashes, content, head = record_of_five
    path.write_bytes(content)
    path.with_suffix(".head").write_bytes(head)
    return path, hashes


def changed(record_of_five, content):
    path, _, _, head = record_of_five
    path.write_bytes(content)
    path.with_suffix(".head").write_bytes(head)
    return path


def refused(path):
    with pytest.raises(Damaged) as caught:
        verify(path)
    return str(caught.value)


def test_what_was_written_is_read_back_and_added_up(restored):
    path, hashes = restored
    found = verify(path)
    assert (found.n, found.head, found.bytes, found.torn) == (5, hashes[-1], 10, 0)
    assert found.begin == found.end == ONE.time
    assert entries(path) == [replace(ONE, round=n, bytes=n) for n in range(5)]


@given(data=st.data())
def test_a_byte_that_was_changed_is_found_and_its_line_named(record_of_five, data):
    content = bytearray(record_of_five[2])
    at = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda value: value != content[at]))
    line = content[:at].count(b"\n") + 1
    content[at] = other
    assert f"from line {line} on" in refused(changed(record_of_five, content))


@given(data=st.data())
def test_a_byte_that_was_removed_or_inserted_is_found(record_of_five, data):
    content = record_of_five[2]
    at = data.draw(st.integers(0, len(content) - 1))
    more = data.draw(st.binary(max_size=3))
    spoilt = content[:at] + more + content[at + (not more) :]
    line = content[:at].count(b"\n") + 1
    told = refused(changed(record_of_five, spoilt))
    # Of two bytes alike, or of a line feed that is gone, nobody can say which it was.
    assert any(f"from line {number} on" in told for number in (line, line + 1))


@given(data=st.data())
def test_lines_that_were_removed_moved_or_repeated_are_found_at_the_first(record_of_five, data):
    lines = record_of_five[2].splitlines(keepends=True)
    order = data.draw(
        st.lists(st.sampled_from(range(5)), max_size=7).filter(lambda told: told != [*range(5)])
    )
    path = changed(record_of_five, b"".join(lines[number] for number in order))
    first = next((n for n, (a, b) in enumerate(zip(order, range(5), strict=False)) if a != b), None)
    first = min(len(order), 5) if first is None else first
    assert f"from line {first + 1} on" in refused(path)


def test_a_line_that_was_written_otherwise_with_its_own_hash_breaks_the_next(record_of_five):
    lines = record_of_five[2].splitlines(keepends=True)
    lines[2] = record._line(replace(ONE, round=2, bytes=77), json.loads(lines[1])["hash"])[0]
    assert "from line 4 on" in refused(changed(record_of_five, b"".join(lines)))


def test_lines_that_were_all_written_anew_are_not_those_that_the_head_names(record_of_five):
    hash_, content = FIRST, b""
    for number in range(5):
        # As long as before: neither sizes nor numbers of lines tell.
        line, hash_ = record._line(replace(ONE, round=number, bytes=9 - number), hash_)
        content += line
    assert len(content) == len(record_of_five[2])
    path = changed(record_of_five, content)
    assert "line 5 is not the one that its head names" in refused(path)
    with pytest.raises(Damaged, match="that its head names"):
        append(path, ONE)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b"x" * 100_000,
        b'{"hash": "", "bytes": NaN}',
        json.dumps({**ONE.__dict__, "bytes": "many", "hash": FIRST}).encode(),
        json.dumps({**ONE.__dict__, "more": 1, "hash": FIRST}).encode(),
    ],
)
def test_whatever_stands_in_place_of_a_line_is_one_sentence(record_of_five, line):
    lines = record_of_five[2].splitlines(keepends=True)
    path = changed(record_of_five, b"".join([*lines[:2], line + b"\n", *lines[3:]]))
    assert "from line 3 on" in refused(path)


def test_whole_lines_cut_off_at_the_end_are_missed_by_the_head(record_of_five):
    path = changed(record_of_five, b"".join(record_of_five[2].splitlines(keepends=True)[:3]))
    assert "from line 4 on" in refused(path)
    with pytest.raises(Damaged, match="from line 4 on"):
        append(path, ONE)


def test_an_append_to_a_record_without_its_end_changes_nothing(record_of_five):
    content = record_of_five[2][:-1]
    path = changed(record_of_five, content)
    with pytest.raises(Damaged, match="from line 5 on"):
        append(path, ONE)
    assert path.read_bytes() == content


@pytest.mark.parametrize("harm", ["missing", "damaged", "of no record"])
def test_a_record_without_its_head_is_refused(restored, harm):
    path, _ = restored
    place = path.with_suffix(".head")
    if harm == "missing":
        place.unlink()
    elif harm == "damaged":
        place.write_bytes(place.read_bytes().replace(b'"lines": 5', b'"lines": 4'))
    else:
        place.write_text('{"lines": "x"}')
    for what in (verify, lambda path: append(path, ONE)):
        with pytest.raises(Damaged, match=r"record.head .*restore it"):
            what(path)


def test_a_record_that_was_written_anew_holds_but_for_a_head_kept_elsewhere(tmp_path):
    path = tmp_path / "record.jsonl"
    kept = written(path)[2]
    assert verify(path, kept).n == 5
    assert verify(path, FIRST).n == 5
    path.unlink()
    path.with_suffix(".head").unlink()
    for number in range(5):
        append(path, replace(ONE, round=number, bytes=number + 1))
    assert verify(path).n == 5
    with pytest.raises(Damaged, match=f"never had the head {kept}"):
        verify(path, kept)


def test_a_record_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FedbenchError, match="does not exist"):
        verify(tmp_path / "record.jsonl")


def test_a_line_that_was_torn_anywhere_is_no_change_and_the_next_takes_its_place(tmp_path):
    path, place = tmp_path / "record.jsonl", tmp_path / "record.head"
    hashes = written(path, 3)
    before, head = path.read_bytes(), place.read_bytes()
    append(path, replace(ONE, round=3))
    line = path.read_bytes()[len(before) :]
    for size in range(len(line) + 1):
        path.write_bytes(before + line[:size])
        place.write_bytes(head)
        whole = size == len(line)
        found = verify(path)
        assert (found.n, found.torn) == ((4, 0) if whole else (3, size))
        if not whole:
            assert found.head == hashes[-1]
        append(path, replace(ONE, round=4))
        assert [entry.round for entry in entries(path)] == [0, 1, 2, *([3] if whole else []), 4]


def test_two_lines_that_the_head_does_not_count_are_not_ours(tmp_path):
    path, place = tmp_path / "record.jsonl", tmp_path / "record.head"
    written(path, 2)
    head = place.read_bytes()
    append(path, ONE)
    append(path, ONE)
    place.write_bytes(head)
    assert "from line 4 on" in refused(path)
    with pytest.raises(Damaged, match="from line 4 on"):
        append(path, ONE)


def test_a_writer_killed_between_the_first_head_and_the_first_line_left_an_empty_record(tmp_path):
    path = tmp_path / "record.jsonl"
    append(path, ONE)
    path.unlink()
    record._write_head(path, record.Head())
    assert (verify(path).n, verify(path).head, entries(path)) == (0, FIRST, [])
    append(path, ONE)
    assert verify(path).n == 1


_KILLED = """
import os, signal, sys
from pathlib import Path
from dataclasses import replace
from fedbench import files
from fedbench.deployment import record
from tests.unit.deployment.test_record import ONE

path, left = Path(sys.argv[1]), int(sys.argv[2])
for name in ("open", "write", "fsync", "replace", "ftruncate", "lseek"):
    def step(*given, name=name, real=getattr(os, name), **more):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return real(*given, **more)
    setattr(os, name, step)
record.append(path, replace(ONE, round=9))
print("sent", left)
"""


@pytest.mark.slow
def test_a_process_killed_at_any_step_loses_nothing_that_was_sent(tmp_path):
    sent, at = 0, 0
    while not sent:
        path = tmp_path / str(at) / "record.jsonl"
        written(path, 2)
        code = [sys.executable, "-c", textwrap.dedent(_KILLED), str(path), str(at)]
        done = subprocess.run(code, capture_output=True, text=True, env=os.environ)
        sent = done.returncode == 0
        assert sent or done.returncode == -signal.SIGKILL, done.stderr
        assert verify(path).n in ((3,) if sent else (2, 3))
        append(path, ONE)
        assert [entry.round for entry in entries(path)] in ([0, 1, 9, 0], [0, 1, 0])
        at += 1
    assert at > 5


def test_two_processes_write_one_record(tmp_path):
    path = tmp_path / "record.jsonl"
    code = f"""
        from pathlib import Path
        from fedbench.deployment.record import append
        from tests.unit.deployment.test_record import ONE
        for _ in range(20):
            append(Path({str(path)!r}), ONE)
        """
    running = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)]) for _ in range(2)]
    while any(one.poll() is None for one in running):
        if path.exists():
            verify(path)  # a reader takes no writer for damage
    assert [one.returncode for one in running] == [0, 0]
    assert verify(path).n == 40


def test_a_full_disk_is_one_sentence_and_leaves_the_record(tmp_path, monkeypatch):
    path = tmp_path / "record.jsonl"
    written(path, 2)

    def full(path, size, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record, "append_bytes", full)
    with pytest.raises(FedbenchError, match="No space left"):
        append(path, ONE)
    monkeypatch.undo()
    assert verify(path).n == 2


def test_the_command_tells_the_head_and_ends_with_1_where_the_record_was_changed(tmp_path, capsys):
    path = tmp_path / "record.jsonl"
    hashes = written(path, 3)
    assert main(["site-log", "verify", str(path)]) == 0
    assert f"head: {hashes[-1]}" in capsys.readouterr().out
    assert main(["site-log", "verify", str(path), "--head", hashes[0]]) == 0
    assert main(["site-log", "verify", str(path), "--head", "0123"]) == 1
    assert main(["site-log", "show", str(path)]) == 0
    assert capsys.readouterr().out.count(ONE.run) == 3
    path.write_bytes(path.read_bytes().replace(b'"round": 1', b'"round": 7'))
    for action in ("verify", "show"):
        assert main(["site-log", action, str(path)]) == 1
        said = capsys.readouterr()
        assert "from line 2 on" in said.err
        assert not said.out


def test_the_command_ends_with_2_where_there_is_no_record(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["site-log", "verify"]) == 2
    assert "site/record.jsonl does not exist" in capsys.readouterr().err
