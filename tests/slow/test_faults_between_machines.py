"""What goes wrong between machines ends with the right result, or one sentence at both ends.

Servers and sites are processes of the real commands (:mod:`tests.federations`). Nothing of noise is
in these runs, so that a federation that was disturbed must end with the bytes of one in which
nothing went wrong. A few run with the other slow tests; all of them where FEDBENCH_CAMPAIGN is set.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from fedbench.deployment.certificates import hosts_of, new_certificate
from fedbench.deployment.issuing import issue_server, issue_site
from fedbench.deployment.keys import authority, fingerprint, server_key
from tests.federations import simulated, world
from tests.relay import Line, Relay

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
A, B = "hospital-a", "hospital-b"
at_full_size = pytest.mark.skipif(
    "FEDBENCH_CAMPAIGN" not in os.environ, reason="only where FEDBENCH_CAMPAIGN is set"
)
LONG = {"passes": 40}  #: so that a turn of training takes seconds


def well(here, *running):
    """All of them end by themselves, and say nothing but what they should."""
    for one in running:
        assert one.ended() == 0, one.said()
        assert "Traceback" not in one.said()


def right(here, tmp_path):
    """Everybody has the adapter of an undisturbed federation; records hold what was sent."""
    undisturbed = simulated(here, tmp_path / "simulated")
    assert here.adapter() == undisturbed
    for name in here.names:
        assert here.adapter(name) == undisturbed
        checked = here.command(name, "site-log", "verify")
        assert checked.returncode == 0, checked.stderr
        kinds = [(entry.kind, entry.round) for entry in here.record(name)]
        for round_ in range(len(here.report()["rounds"])):
            assert ("update", round_) in kinds
            assert ("score", round_) in kinds


def refused(running, *sentences):
    """It ends with one sentence, and says so."""
    assert running.ended() == 2, running.said()
    last = running.sentences()[-1]
    assert last.startswith("fedbench: ")
    for sentence in sentences:
        assert sentence in last
    assert "Traceback" not in running.said()


def wait_until_it_trains(site, here, round_, seconds=0.7):
    """Wait until a site is in a turn of training, and some way into it."""
    before = 2 * (round_ + 1)  # a proposal, and two messages in every round
    site.until(lambda: here.received(site.name) >= before, f"begin round {round_}")
    time.sleep(seconds)
    assert not here.recorded(site.name, "update", round_), "it was too quick for this test"


@at_full_size
def test_an_undisturbed_federation_ends_with_the_bytes_of_its_simulation(tmp_path):
    with world(tmp_path / "world") as here:
        well(here, here.server(), here.site(A), here.site(B))
        right(here, tmp_path)


def test_a_site_killed_while_it_trains_and_back_later_changes_no_byte(tmp_path):
    with world(tmp_path / "world", run=LONG) as here:
        server, a, b = here.server(), here.site(A), here.site(B)
        wait_until_it_trains(a, here, 0)
        a.kill()
        again = here.site(A)
        well(here, server, again, b)
        right(here, tmp_path)
        updates = [one for one in here.record(A) if one.kind == "update"]
        assert [one.round for one in updates] == [0, 1]


@at_full_size
def test_a_site_killed_once_its_answer_was_written_down_sends_the_same_bytes(tmp_path):
    with world(tmp_path / "world") as here:
        server, a, b = here.server(), here.site(A), here.site(B)
        a.until(lambda: here.recorded(A, "update", 0), "answer")
        a.kill()
        well(here, server, here.site(A), b)
        right(here, tmp_path)
        first = [one.sha256 for one in here.record(A) if (one.kind, one.round) == ("update", 0)]
        assert len(set(first)) == 1


@at_full_size
def test_without_a_site_that_is_killed_and_never_back_the_federation_goes_on(tmp_path):
    with world(tmp_path / "world", run=LONG, patience=3) as here:
        server, a, b = here.server(), here.site(A), here.site(B)
        wait_until_it_trains(a, here, 0)
        a.kill()
        well(here, server, b)
        assert "It is not connected, and was waited for 3 seconds." in server.said()
        rounds = here.report()["rounds"]
        assert [one["cohort"] for one in rounds] == [["site-01"]] * 2
        assert here.report()["sites"][A]["has_the_adapter"] is False
        assert here.adapter(B) == here.adapter()


@at_full_size
def test_a_site_that_joins_late_takes_part_from_then_on(tmp_path):
    with world(tmp_path / "world", run={"rounds": 8}, begin_with=1, patience=2) as here:
        server, b = here.server(), here.site(B)
        server.says(f"{B} takes part")
        a = here.site(A)
        well(here, server, a, b)
        rounds = sorted({one.round for one in here.record(A) if one.kind == "update"})
        assert rounds == [*range(rounds[0], 8)]
        assert rounds[0] >= 1
        cohorts = [one["cohort"] for one in here.report()["rounds"]]
        assert cohorts == [["site-01"]] * rounds[0] + [["site-00", "site-01"]] * len(rounds)
        assert here.adapter(A) == here.adapter(B) == here.adapter()


def test_a_server_killed_in_rounds_and_between_them_goes_on_to_the_same_bytes(tmp_path):
    with world(tmp_path / "world", run={**LONG, "rounds": 3, "passes": 60}) as here:
        server, a, b = here.server(), here.site(A), here.site(B)
        wait_until_it_trains(a, here, 0)
        server.kill()  # while sites train
        server = here.server()
        for site in (a, b):
            server.until(lambda name=site.name: here.recorded(name, "score", 0), "validate")
        server.says("Round 1 of 3")
        server.kill()  # just after a checkpoint
        server = here.server()
        server.until(lambda: all(here.recorded(name, "update", 1) for name in here.names), "train")
        assert not here.recorded(A, "score", 1)
        server.kill()  # between training and validation
        server = here.server()
        well(here, server, a, b)
        right(here, tmp_path)
        for name in here.names:
            for round_ in range(3):
                sent = {one.sha256 for one in here.record(name)
                        if (one.kind, one.round) == ("update", round_)}  # fmt: skip
                assert len(sent) == 1


@at_full_size
def test_under_masks_too_kills_at_both_ends_change_no_byte(tmp_path):
    masked = {**LONG, "secure": {"bound": 1}}
    with world(tmp_path / "world", run=masked, policy={}) as here:
        server, a, b = here.server(), here.site(A), here.site(B)
        a.until(lambda: here.recorded(A, "share", 0), "share keys")
        time.sleep(1)
        a.kill()
        a = here.site(A)
        a.until(lambda: here.recorded(A, "score", 0), "score")
        b.until(lambda: here.recorded(B, "share", 1), "share keys")
        server.kill()
        server = here.server()
        well(here, server, a, b)
        right(here, tmp_path)


def test_a_line_that_is_cut_and_one_that_alters_bytes_change_no_byte_of_the_result(tmp_path):
    with world(tmp_path / "world", run={**LONG, "method": "full", "learning_rate": 1e-3}) as here:
        slow = Line(rate=200_000)
        with Relay(here.port, up=slow, down=slow) as relay:
            server, b = here.server(), here.site(B)
            a = here.site(A, relay.port)
            server.says(f"{A} takes part")
            before = relay.passed["down"]
            a.until(lambda: relay.passed["down"] > before + 100_000, "receive")
            relay.cut()  # in the middle of the first message
            time.sleep(5)
            relay.mend()
            a.until(lambda: here.recorded(A, "update", 0), "train")
            before = relay.passed["up"]
            a.until(lambda: relay.passed["up"] > before + 100_000, "send")
            relay.corrupt("up")
            a.until(lambda: here.recorded(A, "score", 0), "score")
            relay.corrupt("down")
            well(here, server, a, b)
        assert a.said().count("does not answer: this site tries again until it does") > 1
        right(here, tmp_path)


@at_full_size
@pytest.mark.parametrize(
    "line",
    [Line(delay=0.1, loss=0.01), Line(rate=1_250_000)],
    ids=["200 ms and 1 % loss", "10 Mbit/s"],
)
def test_over_a_long_or_slow_line_the_bytes_are_the_same(line, tmp_path):
    with world(tmp_path / "world") as here, Relay(here.port, up=line, down=line) as relay:
        well(here, here.server(), here.site(A, relay.port), here.site(B, relay.port))
        right(here, tmp_path)


def test_whoever_cannot_prove_itself_is_told_the_remedy_in_one_sentence(tmp_path):
    with world(tmp_path / "world", listens="0.0.0.0") as here:
        server = here.server()
        server.says("listens on")
        issue_site(here.folder / "other", A)  # a key that the server does not know
        (here.folder / "other" / f"{A}.key").rename(here.folder / A / "keys/wrong.key")
        wrong = here.site(A, None, "127.0.0.1", "--key", "keys/wrong.key")
        refused(wrong, "does not know the key of this site: give keys/wrong.pub")

        issue_server(here.folder / "foreign", ["127.0.0.1"], days=1)
        foreign = here.folder / "foreign/ca.pem"
        key = ("--key", f"keys/{A}.key")
        misled = here.site(A, None, "127.0.0.1", *key, "--authority", str(foreign))
        refused(misled, "is not vouched for by", "compare its fingerprint by telephone")

        elsewhere = here.site(A, None, "127.0.0.2", *key)
        refused(elsewhere, "is not for that name", "keys server --renew --host NAME")
        stranger = fingerprint(here.folder / "other" / f"{A}.pub")
        server.says(stranger)
        assert server.said().count("was not let in") == 1
        assert "takes part" not in server.said()


@at_full_size
def test_an_expired_certificate_is_told_at_both_ends(tmp_path):
    with world(tmp_path / "world") as here:
        keys = here.folder / "server/keys"
        good = (keys / "server.pem").read_bytes()
        server = here.server()
        server.says("listens on")
        server.kill()
        start = datetime.now(UTC) - timedelta(days=10)
        old = new_certificate(
            authority(keys / "ca.pem"),
            server_key(keys / "ca.key"),
            server_key(keys / "server.key"),
            hosts_of(["127.0.0.1"]),
            start,
            days=5,
        )
        (keys / "server.pem").write_bytes(old.public_bytes(Encoding.PEM))
        refused(here.server(), "server.pem", "--renew")
        assert good != (keys / "server.pem").read_bytes()
