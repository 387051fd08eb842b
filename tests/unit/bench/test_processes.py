"""Memory of several processes as one number, and processes of a child's children."""

from __future__ import annotations

import os
import sys

import pytest

from fedbench.bench.processes import measured, memory, totals, user_seconds
from fedbench.errors import FedbenchError

STATUS = "Name:\tx\nVmHWM:\t 9 kB\nRssAnon:\t 100 kB\nRssFile:\t 20 kB\nRssShmem:\t 3 kB\n"


def test_memory_is_read_by_kind_and_a_process_that_has_ended_has_none():
    assert memory(STATUS) == {"RssAnon": 102400, "RssFile": 20480, "RssShmem": 3072}
    assert memory("Name:\tx\nState:\tZ (zombie)\n") == {"RssAnon": 0, "RssFile": 0, "RssShmem": 0}


def test_user_time_is_read_behind_a_program_name_with_spaces_and_brackets():
    stat = "7 (a b) c) S 1 7 7 0 -1 4194560 10 0 0 0 250 90 0 0 20 0 1 0 100"
    assert user_seconds(stat) == pytest.approx(250 / os.sysconf("SC_CLK_TCK"))


@pytest.mark.skipif(sys.platform != "linux", reason="processor time is read from /proc")
def test_user_time_is_that_of_all_processes(tmp_path):
    work = "from time import process_time as t; a = t()\nwhile t() < a + 0.5: sum(range(10000))"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}]); {work}"
    found = measured([sys.executable, "-c", outer], tmp_path / "output")
    assert 0.6 < found["user_seconds"] < found["seconds"] + 0.1


def test_pages_that_processes_share_are_counted_once():
    one = {"RssAnon": 100, "RssFile": 10, "RssShmem": 5}
    two = {"RssAnon": 200, "RssFile": 30, "RssShmem": 1}
    found = totals([one, two])
    assert found == {"peak_bytes": 335, "resident_bytes": 346, "processes": 2}
    assert totals([]) == {"peak_bytes": 0, "resident_bytes": 0, "processes": 0}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_child_that_leaves_its_session_still_counts(tmp_path):
    inner = "x = bytearray(5 * 10**7); import time; time.sleep(0.6)"
    outer = (
        "import subprocess, sys; "
        f"subprocess.run([sys.executable, '-c', {inner!r}], start_new_session=True, check=True)"
    )
    found = measured([sys.executable, "-c", outer], tmp_path / "output")
    assert found["processes"] == 2
    assert found["peak_bytes"] > 5e7
    assert found["seconds"] > 0.6


def test_a_process_that_fails_is_told_with_its_last_words(tmp_path):
    with pytest.raises(FedbenchError, match="oh no"):
        measured([sys.executable, "-c", "import sys; sys.exit('oh no')"], tmp_path / "output")
