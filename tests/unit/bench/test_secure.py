"""What secure aggregation costs: small here, but the same code."""

from __future__ import annotations

from fedbench.bench import secure
from fedbench.secure_aggregation.masks import TAIL


def test_an_attempt_is_exact_as_promised_and_its_bytes_are_those_of_the_protocol():
    row = secure.rehearse(8, 1000)
    assert row["dropped_out"] == 1
    assert 0 < row["error_in_promised"] <= 1
    assert row["bytes_up"]["mask"] == 4 * 1001 + TAIL
    assert row["bytes_up"]["advertise"] == 64
    assert row["bytes_up"]["unmask"] == 7 * 16 + 32
    assert row["cpu"] >= sum(row["server_seconds"].values()) > 0


def test_the_table_has_a_row_for_every_count_and_says_whether_the_target_is_met(monkeypatch):
    found = secure.measure(counts=(4, 16), parameters=500)
    assert [(row["sites"], row["parameters"]) for row in found["rows"]] == [(4, 500), (16, 500)]
    lines = secure.table(found)
    assert [len(secure.EXCHANGES) == line.count(" + ") for line in lines].count(True) == 2
    assert sum("s wall)" in line for line in lines) == 2
    assert sum(line.startswith("16 sites, 500 numbers") and "met" in line for line in lines) == 1
    monkeypatch.setattr(secure, "TARGET_SECONDS", 0.0)
    assert any("missed" in line for line in secure.table(found))


def test_what_sites_do_while_the_server_waits_is_not_the_servers(monkeypatch):
    clock = iter([0.0, 1.0, 4.0, 6.0])
    monkeypatch.setattr(secure.time, "process_time", lambda: next(clock))
    costs = secure.Costs()
    with costs.at_server("mask"), costs.at_site("mask"):
        pass
    assert costs.site["mask"] == [3.0]
    assert costs.server["mask"] == 3.0
