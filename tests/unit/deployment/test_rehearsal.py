"""A rehearsal: what it refuses, what stops it, and what it counts. It itself: tests/slow."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("flwr", reason='needs pip install "fedbench[flower]"')

from fedbench.deployment import rehearsal
from fedbench.deployment.children import log_of
from fedbench.deployment.rehearsal import rehearsed
from fedbench.engines import Failure
from fedbench.errors import FedbenchError
from tests import bigram


def test_faults_are_not_simulated_over_flower(tmp_path):
    prepared = SimpleNamespace(config=bigram.config(faults="silent:rate=0.5"))
    with (
        pytest.raises(FedbenchError, match="leave out --engine flower, or the faults"),
        rehearsed(prepared, bigram.Bigram(), tmp_path),
    ):
        pass
    assert [*tmp_path.iterdir()] == []


def test_what_killed_rehearsals_left_is_removed_and_what_sites_keep_is_not(tmp_path):
    (tmp_path / "flower-old" / "keys").mkdir(parents=True)
    (tmp_path / "site-00").mkdir()
    home = rehearsal._fresh(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"site-00", home.name}
    assert home.stat().st_mode & 0o077 == 0


@pytest.fixture
def ended(tmp_path):
    """A process of a site that said something and ended."""
    (tmp_path / "site-00").mkdir()
    log_of("site", tmp_path / "site-00").write_text("Traceback\n  ...\nKeyError: 7\n\n")
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return {"site-00": process}


def test_a_site_that_ended_stops_the_run(ended, tmp_path):
    with pytest.raises(FedbenchError) as told:
        rehearsal._check(ended, {}, tmp_path)
    said = "The process of site-00 ended before its time; it said last: KeyError: 7"
    assert str(told.value) == said


def test_a_site_that_does_not_take_part_stops_the_run(tmp_path):
    with pytest.raises(FedbenchError, match=r"site-01 does not take part .* It has no disk\."):
        rehearsal._check({}, {"site-01": "It has no disk."}, tmp_path)


class Sending:
    """Answers with the lengths of messages; a deadline must not come through."""

    def exchange(self, messages, deadline):
        assert deadline is None
        for site in messages:
            if len(messages[site]) == 7:
                messages[site]  # it is sent again
                yield site, Failure("It broke.")
            else:
                yield site, bytes(3)


def test_payloads_are_counted_each_time_that_they_travel_and_no_deadline_applies():
    engine = rehearsal._Unhurried(Sending())
    found = dict(engine.exchange({"a": bytes(7), "b": bytes(10)}, 0.001))
    assert found == {"a": Failure("It broke."), "b": bytes(3)}
    assert engine.payloads == 7 + 7 + 10 + 3


def test_what_went_through_flower_is_told():
    assert rehearsal._told(2_000_000, 2_150_000) == (
        "over Flower: 2 MB of payloads in both directions, and 0.15 MB more, which are Flower's "
        "own and what was agreed before"
    )


def test_only_simulations_are_rehearsed():
    real = SimpleNamespace(simulated=False)
    assert rehearsal._only_simulations(real) == ["Its data are those of a simulation."]
    assert rehearsal._only_simulations(SimpleNamespace(simulated=True)) == []
