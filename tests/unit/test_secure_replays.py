"""Answers and questions of another attempt at secure aggregation than the one that is going on."""

from __future__ import annotations

import pytest

from fedbench.engines import Failure
from fedbench.engines.in_process import InProcess
from fedbench.wire import framed, opened
from tests.payloads import header_of
from tests.unit.test_federation import run
from tests.unit.test_secure_round import HELD, asked


def replaying(kind):
    """An engine under which one site sends its first answer of a kind again, whatever is asked."""

    class Replaying(InProcess):
        first = None

        def exchange(self, messages, deadline):
            for site, reply in super().exchange(messages, deadline):
                if header_of(messages[site])["kind"] == kind and site == "site-00":
                    reply = Replaying.first = Replaying.first or reply
                yield site, reply

    return Replaying


def test_a_share_that_is_revealed_again_costs_nobody_the_round(tmp_path):
    plain = run(asked(rounds=2), tmp_path / "plain", HELD)
    found = run(asked(rounds=2), tmp_path / "replayed", HELD, replaying("unmask"))
    assert not any("abandoned" in record for record in found.log)
    assert [record["cohort"] for record in found.log] == [r["cohort"] for r in plain.log]


def attempt_before(message):
    header, body = opened(message)
    return framed({**header, "attempt": header["attempt"] - 1}, bytes(body))


@pytest.mark.parametrize("kind", ["share", "unmask"])
def test_a_message_of_another_attempt_is_not_answered_and_loses_no_secret(tmp_path, kind):
    answers = []

    class Late(InProcess):
        def exchange(self, messages, deadline):
            asked_for = {header_of(message)["kind"] for message in messages.values()}
            if kind in asked_for:
                late = {"site-00": attempt_before(messages["site-00"])}
                answers.extend(reply for _, reply in super().exchange(late, deadline))
            yield from super().exchange(messages, deadline)

    found = run(asked(rounds=2), tmp_path, HELD, Late)
    assert len(answers) == 2
    for answer in answers:
        assert isinstance(answer, Failure)
        assert "another attempt" in answer.reason
    assert all("site-00" in record["cohort"] for record in found.log)
    assert not any({"abandoned", "refused"} & record.keys() for record in found.log)
