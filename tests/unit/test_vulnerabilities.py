"""The report on vulnerabilities says what it could not look up, and never calls that safe."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from fedbench.paths import CHECKOUT
from tests import vulnerabilities
from tests.vulnerabilities import LOCK, report, told

SAFE = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "not found"}
BAD = {"name": "c", "version": "2", "vulns": [
    {"id": "PYSEC-1", "fix_versions": ["3", "4"], "aliases": [], "description": ""},
    {"id": "PYSEC-2", "fix_versions": [], "aliases": [], "description": ""},
]}  # fmt: skip


def test_vulnerable_packages_are_told_with_what_mends_them():
    assert told({"dependencies": [SAFE, SKIPPED, BAD]}) == [
        "c 2: PYSEC-1 (mended in 3 or 4), PYSEC-2 (not mended yet)",
        "2 of 3 packages were looked up, 1 with known vulnerabilities.",
    ]


def test_where_nothing_could_be_looked_up_nothing_is_called_safe():
    told_of_none = (
        "0 of 2 packages were looked up: pypi.org tells of none here, and nothing is known."
    )
    assert told({"dependencies": [SKIPPED, SKIPPED]}) == [told_of_none]


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (json.dumps({"dependencies": [SAFE], "fixes": []}), "1 of 1 packages were looked up, 0"),
        ("", "could not look (no route): nothing is known"),
        ("Traceback", "could not look (no route): nothing is known"),
    ],
)
def test_a_network_without_the_service_is_one_sentence(monkeypatch, printed, said):
    done = SimpleNamespace(stdout=printed, stderr="first\nno route\n")
    monkeypatch.setattr(vulnerabilities.subprocess, "run", lambda *a, **k: done)
    assert said in report()


def test_what_is_looked_up_is_the_lock_file():
    assert (CHECKOUT / LOCK).exists()
    assert LOCK in vulnerabilities._COMMAND
