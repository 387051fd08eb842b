"""Versions on disk: named by day and commit, read in order, refused when damaged."""

from __future__ import annotations

import pytest

from fedbench.bench.records import recorded, version, write
from fedbench.errors import FedbenchError


def _record(date, commit="abcdef0123", dirty=False):
    parts = {"peak_flops": 1.0, "steps": [], "rounds": [], "alone": [], "start_up": {}}
    return parts | {"date": date, "provenance": {"commit": commit, "dirty": dirty}}


def test_a_version_is_a_day_and_a_commit_marked_where_files_had_changed():
    assert version(_record("2031-02-03T04:05:06Z")) == "2031-02-03-abcdef0"
    assert version(_record("2031-02-03T04:05:06Z", dirty=True)) == "2031-02-03-abcdef0-changed"


def test_versions_come_back_the_oldest_first(tmp_path):
    for date, commit in (("2031-02-03T09:00:00Z", "a" * 9), ("2031-02-03T08:00:00Z", "b" * 9)):
        assert write(_record(date, commit), tmp_path).exists()
    assert [record["provenance"]["commit"][0] for record in recorded(tmp_path)] == ["b", "a"]


def test_nothing_recorded_is_no_version(tmp_path):
    assert recorded(tmp_path / "nowhere") == []


@pytest.mark.parametrize("content", ["[]", "{}"])
def test_a_file_that_is_no_record_is_refused_by_name(tmp_path, content):
    (tmp_path / "x.json").write_text(content, encoding="utf-8")
    with pytest.raises(FedbenchError, match=r"x\.json is no record"):
        recorded(tmp_path)
