"""The network namespaces that stand for machines are a network, with the rate they were given."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.machines import run_in_world, why_not

pytestmark = pytest.mark.slow

_FETCH = """
import sys, time, urllib.request
began = time.monotonic()
size = len(urllib.request.urlopen(sys.argv[1], timeout=60).read())
print(size, time.monotonic() - began)
"""
_WAIT = """
import socket, sys, time
for _ in range(200):
    try:
        socket.create_connection((sys.argv[1], 8000), 1).close()
        break
    except OSError:
        time.sleep(0.05)
else:
    sys.exit("there is no server")
"""


@pytest.fixture(autouse=True)
def _possible():
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture
def scripts(tmp_path):
    """A folder with a file of 5 MB, and the command that runs a script of this module."""
    (tmp_path / "five").write_bytes(bytes(5_000_000))
    (tmp_path / "fetch.py").write_text(_FETCH)
    (tmp_path / "wait.py").write_text(_WAIT)
    return tmp_path


def _served(scripts, **more):
    serving = f"{sys.executable} -m http.server 8000 --directory {scripts}"
    return run_in_world(
        f"""
        on server {serving} > {scripts}/log 2>&1 &
        on hospital-a {sys.executable} {scripts}/wait.py server
        on hospital-a {sys.executable} {scripts}/fetch.py http://server:8000/five
        """,
        **more,
    )


def test_what_a_machine_sends_takes_as_long_as_its_rate_says(scripts):
    done = _served(scripts, rates={"server": "10mbit"})
    assert done.returncode == 0, done.stderr
    size, seconds = map(float, done.stdout.split())
    assert size == 5_000_000
    assert 4.0 <= seconds < 8.0  # 40 Mbit at 10 Mbit/s are 4 s, and headers of packets come on top


def test_without_a_rate_it_takes_no_time(scripts):
    done = _served(scripts)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[1]) < 2.0


def test_machines_have_loopbacks_of_their_own_and_no_way_out():
    done = run_in_world(
        f"""
        on server {sys.executable} -m http.server 8000 --bind 127.0.0.1 > /dev/null &
        on hospital-b {sys.executable} -c '
import socket, time
time.sleep(1)
for address in ("127.0.0.1", "server", "198.51.100.1"):
    try:
        socket.create_connection((address, 8000), 1)
        print("connected")
    except OSError as error:
        print(error.strerror)
'
        """
    )
    assert done.stdout.splitlines() == [
        "Connection refused",
        "Connection refused",
        "Network is unreachable",
    ], done.stderr


def test_a_script_that_fails_says_so_and_its_exit_status_is_kept():
    done = run_in_world("on hospital-a bash -c 'echo out; echo wrong >&2; exit 7'; echo never")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "wrong\n")


def test_what_runs_too_long_is_killed_with_all_that_it_started():
    with pytest.raises(subprocess.TimeoutExpired):
        run_in_world("on server sleep 98.76543 & on hospital-a sleep 98.76543", timeout=2)
    ends = time.monotonic() + 20  # the system takes processes down one after the other
    while "sleep 98.76543" in (left := _processes()) and time.monotonic() < ends:
        time.sleep(0.1)
    assert "sleep 98.76543" not in left


def _processes() -> str:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
