"""The budget is written down before anything is released, and never forgotten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from fedbench.errors import FedbenchError
from fedbench.privacy.accounting import Releases, epsilon
from fedbench.privacy.ledger import debit

ONE = Releases(2.0, 1.0, 1)


def spend(path, key, units=("a",), releases=ONE, limit=None):
    return debit(path, key, releases, units, 1e-5, "prv", limit)


def test_what_is_spent_adds_up_by_unit(tmp_path):
    path = tmp_path / "ledger"
    assert spend(path, "0", ("a", "b"))["a"] == epsilon([ONE], 1e-5, "prv")
    found = spend(path, "1", ("b", "c"))
    assert found == {
        "b": epsilon([Releases(2.0, 1.0, 2)], 1e-5, "prv"),
        "c": epsilon([ONE], 1e-5, "prv"),
    }


def test_releases_of_different_kinds_are_composed(tmp_path):
    path = tmp_path / "ledger"
    spend(path, "0")
    other = Releases(1.0, 0.1, 20)
    assert spend(path, "1", releases=other)["a"] == epsilon([ONE, other], 1e-5, "prv")


def test_the_same_release_is_debited_once(tmp_path):
    path = tmp_path / "ledger"
    first = spend(path, "0")
    content = path.read_bytes()
    assert spend(path, "0") == first
    assert path.read_bytes() == content


def test_what_was_written_down_is_never_another_release(tmp_path):
    path = tmp_path / "ledger"
    spend(path, "0")
    for other in ({"releases": Releases(0.1, 1.0, 1)}, {"units": ("a", "b")}):
        with pytest.raises(FedbenchError, match="has another release under 0"):
            spend(path, "0", **other)


def test_what_would_exceed_the_budget_is_refused_and_leaves_no_trace(tmp_path):
    path = tmp_path / "ledger"
    limit = spend(path, "0", ("a", "b"))["a"] * 1.2
    content = path.read_bytes()
    with pytest.raises(FedbenchError, match=r"budget of b is spent: its epsilon would be .* limit"):
        spend(path, "1", ("b",), limit=limit)
    assert path.read_bytes() == content
    assert spend(path, "2", ("c",), limit=limit)


@pytest.mark.parametrize(
    "harm",
    [
        *(b"", b"{", b"[1]", b'{"0": 3}', b'{"0": [["x", 1, 1], ["a"]]}'),
        *(
            b'{"0": [[2, 1, -1], ["a"]]}',
            b'{"0": [[2, 2, 1], ["a"]]}',
            b'{"0": [[0, 1, 1], ["a"]]}',
        ),
    ],
)
def test_a_damaged_ledger_is_refused_and_not_begun_anew(tmp_path, harm):
    path = tmp_path / "ledger"
    spend(path, "0")
    path.write_bytes(harm)
    with pytest.raises(FedbenchError, match="is damaged"):
        spend(path, "1")
    assert path.read_bytes() == harm


def test_a_process_killed_between_debit_and_release_has_spent(tmp_path):
    path = tmp_path / "ledger"
    code = f"""
        import os, signal
        from pathlib import Path
        from fedbench.privacy.accounting import Releases
        from fedbench.privacy.ledger import debit
        debit(Path({str(path)!r}), "0", Releases(2.0, 1.0, 1), ["a"], 1e-5, "prv", None)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert spend(path, "1")["a"] == epsilon([Releases(2.0, 1.0, 2)], 1e-5, "prv")
