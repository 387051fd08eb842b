"""Who holds a lock is told; a lock whose process has ended, however, keeps nobody out."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fedbench import locks
from fedbench.errors import FedbenchError
from fedbench.locks import Busy, holder, is_held, locked

FORK = multiprocessing.get_context("fork")


def _hold(path, soft, ready):
    if soft:
        locks._has_flock = lambda folder: False
    with locked(path):
        ready.send(True)
        time.sleep(60)


@pytest.fixture(params=[False, True], ids=["flock", "marker"])
def soft(request, monkeypatch):
    """Whether the file system has no locks of its own."""
    if request.param:
        monkeypatch.setattr(locks, "_has_flock", lambda folder: False)
    return request.param


@pytest.fixture
def held(tmp_path, soft):
    """A lock, and the process that holds it."""
    path = tmp_path / "lock"
    here, there = FORK.Pipe()
    process = FORK.Process(target=_hold, args=(path, soft, there), daemon=True)
    process.start()
    assert here.poll(20)
    yield path, process
    process.kill()
    process.join()


def test_who_holds_a_lock_is_told_with_process_and_machine(held):
    path, process = held
    assert is_held(path)
    told = f"process {process.pid} on {socket.gethostname()}, since "
    assert holder(path).startswith(told)
    with pytest.raises(Busy, match=told), locked(path, wait=False):
        pytest.fail("the lock was taken twice")


def test_the_lock_of_a_killed_process_is_taken_over_at_once(held):
    path, process = held
    process.kill()
    process.join()
    assert not is_held(path)
    with locked(path, wait=False):
        assert str(os.getpid()) in holder(path)


def test_a_stopped_process_keeps_its_lock_and_who_waits_says_for_whom(held, caplog):
    path, process = held
    os.kill(process.pid, signal.SIGSTOP)
    assert is_held(path)
    waiting = threading.Thread(target=lambda: locked(path).__enter__())
    waiting.start()
    time.sleep(0.3)
    assert waiting.is_alive()
    assert f"waiting for process {process.pid} on " in caplog.text
    process.kill()
    process.join()
    waiting.join(20)
    assert not waiting.is_alive()


def test_a_lock_file_that_nobody_holds_does_not_block(tmp_path, soft):
    path = tmp_path / "lock"
    path.write_text(f"{os.getpid()}\n{socket.gethostname()}\n")
    assert not is_held(path)
    with locked(path, wait=False):
        pass
    assert path.read_text() == ""
    assert not is_held(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["lock"]


def _marked(path, pid, host, *start):
    path.write_text("")
    marker = path.with_name("lock.held")
    marker.write_text("\n".join(map(str, [pid, host, *start])) + "\n")
    return marker


def _ended():
    return subprocess.run([sys.executable, "-Sc", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip


def test_a_marker_of_a_process_that_has_ended_is_recognised(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_has_flock", lambda folder: False)
    _marked(tmp_path / "lock", _ended(), socket.gethostname())
    with locked(tmp_path / "lock", wait=False):
        pass


def test_a_marker_whose_number_another_process_has_by_now_is_recognised(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_has_flock", lambda folder: False)
    marker = _marked(tmp_path / "lock", os.getpid(), socket.gethostname())
    assert is_held(tmp_path / "lock")  # it does not say when its process began
    with locked(tmp_path / "other", wait=False):
        pid, host, start = (tmp_path / "other.held").read_text().splitlines()
    marker.write_text(f"{pid}\n{host}\n{int(start) - 1}\n")
    with locked(tmp_path / "lock", wait=False):
        pass


def test_a_marker_of_another_machine_blocks_and_is_named_to_be_removed(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(locks, "_has_flock", lambda folder: False)
    marker = _marked(tmp_path / "lock", _ended(), "elsewhere")
    with pytest.raises(Busy, match="on elsewhere"), locked(tmp_path / "lock", wait=False):
        pytest.fail("it may be at work")
    waiting = threading.Thread(target=lambda: locked(tmp_path / "lock").__enter__())
    waiting.start()
    time.sleep(0.3)
    assert f"if that has ended, remove {marker}" in caplog.text
    marker.unlink()
    waiting.join(20)
    assert not waiting.is_alive()


MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
server:/a /data nfs4 rw,vers=4.2,local_lock=none 0 0
server:/b /data/old nfs rw,vers=3,nolock,local_lock=all 0 0
server:/c /scratch lustre rw,localflock 0 0
pool /fast lustre rw,flock 0 0
me@host: /home/x/my\\040mount fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "alone"),
    [
        ("/home/x/runs", False),
        ("/data/runs", False),
        ("/data/old/runs", True),
        ("/scratch/runs", True),
        ("/fast/runs", False),
        ("/home/x/my mount/runs", True),
        ("/database", False),
    ],
)
def test_mounts_whose_locks_stay_on_one_machine_are_known(folder, alone):
    assert locks._are_of_one_machine(Path(folder), MOUNTS.splitlines()) is alone


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_has_markers(tmp_path, monkeypatch, code):
    import fcntl

    def refuse(*args):
        raise OSError(code, os.strerror(code))

    locks._has_flock.cache_clear()
    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "lock"):
        assert (tmp_path / "lock.held").exists()
        assert is_held(tmp_path / "lock")
    assert [entry.name for entry in tmp_path.iterdir()] == []
    locks._has_flock.cache_clear()


def test_a_file_system_whose_locks_keep_nobody_out_has_markers(tmp_path, monkeypatch):
    import fcntl

    locks._has_flock.cache_clear()
    monkeypatch.setattr(fcntl, "flock", lambda *args: None)
    with locked(tmp_path / "lock"):
        assert (tmp_path / "lock.held").exists()
    locks._has_flock.cache_clear()


def test_a_lock_service_that_does_not_answer_is_one_sentence(tmp_path, monkeypatch):
    import fcntl

    def refuse(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    locks._has_flock.cache_clear()
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(FedbenchError, match="FEDBENCH_HOME"), locked(tmp_path / "lock"):
        pass
    locks._has_flock.cache_clear()


def test_one_lock_is_held_by_one_at_a_time(tmp_path):
    path = tmp_path / "new" / "lock"
    inside, most = [], []

    def work():
        for _ in range(20):
            with locked(path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80
    assert max(most) == 1


def test_a_second_taker_does_not_replace_the_lock_under_the_first(tmp_path):
    with locked(tmp_path / "lock"):
        held = (tmp_path / "lock").stat().st_ino
    with locked(tmp_path / "lock"):
        assert (tmp_path / "lock").stat().st_ino == held


def test_a_lock_on_a_disk_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.mkdir", full)
    with (
        pytest.raises(FedbenchError, match="could not be written"),
        locked(tmp_path / "x" / "lock"),
    ):
        pass


def test_an_error_inside_a_lock_is_not_blamed_on_the_lock(tmp_path):
    with pytest.raises(OSError, match="inside"), locked(tmp_path / "lock"):
        raise OSError("inside")
