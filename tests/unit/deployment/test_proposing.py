"""A proposal and its answers: what one end says is what the other reads, and nothing else is."""

from __future__ import annotations

import pytest

from fedbench.config import parse_config
from fedbench.deployment.proposing import (
    Proposal,
    agreed,
    asked_by,
    read_proposal,
    read_reply,
    refused,
)
from fedbench.resolving import resolve
from fedbench.tasks.specfile import read_spec
from fedbench.wire import BadPayload, framed, opened

KEY, OTHER = "a" * 64, "b" * 64
CONFIG = resolve(parse_config({"task": "lookalike_fpb"}))


def proposal(**values):
    usual = {"task": "t", "backbone": "b", "sites": {KEY: "site-00"}, "simulated": False}
    return Proposal(CONFIG, **{**usual, **values})


def test_a_proposal_says_all_of_itself_and_no_two_have_a_nonce_in_common():
    first, second = (opened(proposal().payload())[0] for _ in range(2))
    found = read_proposal(first)
    assert found == proposal(nonce=first["nonce"])
    assert first["nonce"] != second["nonce"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("config", "task", "backbone", "sites", "simulated", "nonce")
        for value in (None, 7, [], "x" * 10**6)
        if not (name in ("task", "backbone") and isinstance(value, str))  # a text is what it is
    ],
    ids=lambda given: str(given)[:9],
)
def test_every_field_of_another_kind_is_refused(name, value):
    header = opened(proposal().payload())[0]
    with pytest.raises(BadPayload) as caught:
        read_proposal({**header, name: value})
    assert len(str(caught.value)) < 600


def test_an_answer_is_read_as_it_was_given():
    asked = proposal().payload()
    read = read_proposal(opened(asked)[0])
    assert read_reply(asked, agreed(read, KEY)).reasons == ()
    told = read_reply(asked, refused(read, KEY, ["One.", "Two."]))
    assert (told.key, told.reasons) == (KEY, ("One.", "Two."))


def test_reasons_have_an_end():
    asked = proposal().payload()
    payload = refused(read_proposal(opened(asked)[0]), KEY, ["x" * 10**5] * 1000)
    assert len(payload) < 20_000
    assert len(read_reply(asked, payload).reasons) == 20


def test_a_reason_cannot_write_on_the_terminal_of_who_reads_it():
    asked = proposal().payload()
    reasons = ["\x1b[2J\nhospital-b takes part", "\u202etrap sekat\u2028", "Größe \x07\x9b1m\r."]
    told = read_reply(asked, refused(read_proposal(opened(asked)[0]), KEY, reasons))
    assert told.reasons == ("?[2J hospital-b takes part", "?trap sekat", "Größe ??1m .")


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "0" * 32}, {"run": "0" * 16}, {"kind": "update"}, {"kind": "refuse"},
        {"key": None}, {"reasons": "No."}, {"reasons": ["No."]}, {"reasons": {"a": 1}},
    ],
    ids=str,
)  # fmt: skip
def test_an_answer_to_something_else_is_none(changes):
    asked = proposal().payload()
    header = opened(agreed(read_proposal(opened(asked)[0]), KEY))[0]
    with pytest.raises(BadPayload, match="answered a proposal with something else"):
        read_reply(asked, framed({**header, **changes}, b""))
    with pytest.raises(BadPayload, match="answered a proposal with something else"):
        read_reply(asked, framed(header, b"and more"))


def test_where_rows_are_does_not_count_and_how_they_are_asked_does():
    spec, _ = read_spec("fpb")
    elsewhere = spec.model_copy(update={"layouts": (), "hub": None, "note": "Moved."})
    otherwise = spec.model_copy(update={"prompt": {"text": "{sentence}?"}})
    assert asked_by(spec) == asked_by(elsewhere) != asked_by(otherwise)
