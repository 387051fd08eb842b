"""What reliability takes of a round: a tiny run here, but the same code."""

from __future__ import annotations

import pytest

from fedbench import files, snapshots
from fedbench.bench import durability
from fedbench.config import RunConfig
from tests import toys


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    options = toys.options(tmp_path_factory.mktemp("toy"))
    config = RunConfig.model_validate({**options, "rounds": 4, "passes": 2, "train_limit": 16})
    return durability.measure(config, runs=1)


def test_every_part_takes_time_and_all_together_are_the_share(found):
    told = found["milliseconds"]
    assert set(told) == {"round", "files", "spooled replies", "checksums made", "compared"}
    assert all(0 < one["lowest"] <= one["median"] <= one["highest"] for one in told.values())
    assert all(one["n"] == 3 for one in told.values())
    parts = [one for name, one in told.items() if name != "round"]
    assert sum(one["lowest"] for one in parts) < told["round"]["highest"]
    share = found["share"]
    assert 0 < share["lowest"] <= found["share_of_all_rounds"] <= share["highest"] < 1


def test_nothing_is_timed_any_more_afterwards(found):
    assert snapshots.write_bytes is files.write_bytes
    assert files.write_bytes is durability._PARTS["files"]


def test_the_table_has_a_line_for_every_part_and_the_share(found):
    lines = durability.table(found)
    assert [line.split()[0] for line in lines[2:7]] == [
        "round", "files", "spooled", "checksums", "compared",
    ]  # fmt: skip
    assert lines[7].startswith("share of a round: ")
