"""Joules and seconds by phase: known watts times a known clock, whatever interrupts what."""

from __future__ import annotations

import pytest

from fedbench.energy.ledger import Ledger
from fedbench.phases import observed, phase


class Stub:
    """A clock and a meter of 10 W for the processor and 2 W for memory; switching takes 1 s."""

    def __init__(self, switching=0.0):
        self.now, self.switching, self.since = 0.0, switching, 0.0

    def start(self):
        self.now += self.switching
        self.since = self.now

    def stop(self):
        spent = self.now - self.since
        self.now += self.switching
        return {"cpu": 10 * spent, "ram": 2 * spent}

    def how(self):
        return {"cpu": "measured (stub)", "ram": "estimated (stub)"}

    def grid_factor(self):
        return 400.0, "stub"


def _fail_after(stub, seconds):
    stub.now += seconds
    raise KeyError


@pytest.fixture
def stub():
    return Stub()


def test_known_watts_times_seconds_are_the_joules(stub):
    ledger = Ledger(stub, lambda: stub.now)
    with ledger.phase("train"):
        stub.now += 3
    report = ledger.report()
    assert report["seconds"] == {"train": 3}
    assert report["joules"] == {"train": {"cpu": 30, "ram": 6}}
    assert report["how"] == {"cpu": "measured (stub)", "ram": "estimated (stub)"}


def test_a_phase_inside_another_is_billed_once(stub):
    ledger = Ledger(stub, lambda: stub.now)
    with ledger.phase("other"):
        stub.now += 1
        with ledger.phase("train"):
            stub.now += 5
            with ledger.phase("wire"):
                stub.now += 2
            stub.now += 1
        stub.now += 1
    report = ledger.report()
    assert report["seconds"] == {"other": 2, "train": 6, "wire": 2}
    assert sum(parts["cpu"] for parts in report["joules"].values()) == 10 * 10


def test_what_comes_after_a_failure_is_billed_to_what_was_open_before(stub):
    ledger = Ledger(stub, lambda: stub.now)
    with ledger.phase("other"):
        with pytest.raises(KeyError), ledger.phase("train"):
            _fail_after(stub, 4)
        stub.now += 1
    assert ledger.report()["seconds"] == {"train": 4, "other": 1}


def test_reading_is_billed_to_nobody_and_told():
    stub = Stub(switching=1.0)
    ledger = Ledger(stub, lambda: stub.now)
    with ledger.phase("other"):
        stub.now += 1
        with ledger.phase("train"):
            stub.now += 5
    report = ledger.report()
    assert report["seconds"] == {"other": 1, "train": 5}
    assert report["overhead_seconds"] == 6
    assert report["joules"]["train"]["cpu"] == 50


def test_short_phases_share_a_reading_by_time():
    stub = Stub(switching=1.0)
    ledger = Ledger(stub, lambda: stub.now)
    with ledger.phase("other"):
        for _ in range(2):
            with ledger.phase("wire"):
                stub.now += 0.03
        stub.now += 0.01
    report = ledger.report()
    assert report["overhead_seconds"] == pytest.approx(2)
    assert report["seconds"] == pytest.approx({"wire": 0.06, "other": 0.01})
    assert report["joules"]["wire"]["cpu"] == pytest.approx(0.6)


def test_phases_reach_whoever_observes_and_nobody_else(stub):
    ledger = Ledger(stub, lambda: stub.now)
    with phase("train"):
        stub.now += 1
    with observed(ledger.phase), phase("train"):
        stub.now += 2
    with phase("train"):
        stub.now += 4
    assert ledger.report()["seconds"] == {"train": 2}
