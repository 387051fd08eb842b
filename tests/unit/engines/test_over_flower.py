"""Over Flower's grid a federation is the same as in process; and sites that are away, or lie."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

flwr = pytest.importorskip("flwr", reason='needs pip install "fedbench[flower]"')

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict  # noqa: E402

from fedbench.config import RunConfig  # noqa: E402
from fedbench.engines import Failure, over_flower  # noqa: E402
from fedbench.engines.over_flower import (  # noqa: E402
    OverFlower,
    Unproven,
    answering_app,
    content_of,
    payload_of,
)
from fedbench.resolving import resolve  # noqa: E402
from tests import bigram, combined  # noqa: E402
from tests.grids import in_memory  # noqa: E402

#: of all combinations, which tests/slow/test_all_over_flower.py tries, some that have them all
CHOSEN = (
    "fedavg, int8, private sites, masked, some",
    "fedprox:mu=0.1, top-k, private examples, seen, all",
    "scaffold, int8, private examples, masked, all",
    "fedadam, plain, open, seen, some",
)


@pytest.mark.parametrize("chosen", CHOSEN)
def test_a_federation_is_the_same_to_the_bit(chosen, tmp_path):
    rule = chosen.partition(",")[0]
    base = bigram.config(rule=rule, sites=3, **combined.RULES[rule])
    with combined.toy_of_two_tensors(dict(combined.combinations(base))[chosen]) as world:
        combined.agree(world, tmp_path)


def test_so_is_one_of_factors_that_the_server_folds_into_what_sites_hold(
    backbones, toy_task, tmp_path
):
    config = RunConfig.model_validate(
        {
            **{"task": toy_task, "backbone": str(backbones("llama")), "rule": "flora"},
            **{"codec": "int8", "codec_down": "delta+int8", "rounds": 2, "passes": 1, "rank": 2},
            **{"partition": {"kind": "iid", "sites": 2, "minimum": 2}, "max_tokens": 64},
        }
    )
    with combined.toy_with_factors(resolve(config)) as world:
        combined.agree(world, tmp_path)


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(over_flower, "_LOOK", 0.005)


def backwards(payload):
    return payload[::-1]


def told(engine, *sites, deadline=10.0, payload=b"message"):
    """What an exchange ends with, by site."""
    return dict(engine.exchange(dict.fromkeys(sites, payload), deadline))


def engine_over(nodes, **more):
    return OverFlower(nodes.grid, nodes.directory, pause=0.001, **more)


def test_whoever_is_not_connected_has_failed_at_once_if_nobody_waits():
    with in_memory({"a": answering_app(backwards), "b": answering_app(backwards)}) as nodes:
        nodes.away.add("b")
        found = told(engine_over(nodes), "a", "b")
    assert found == {"a": b"egassem", "b": Failure("It is not connected.")}


def test_whoever_is_away_is_waited_for_as_long_as_patience_says():
    with in_memory({"a": answering_app(backwards)}) as nodes:
        nodes.away.add("a")
        found = told(engine_over(nodes, patience=0.05), "a")
        assert found == {"a": Failure("It is not connected, and was waited for 0.05 seconds.")}
        threading.Timer(0.05, nodes.away.clear).start()
        assert told(engine_over(nodes, patience=10.0), "a") == {"a": b"egassem"}


def test_whoever_does_not_answer_in_time_has_failed_and_the_others_are_heard():
    stuck = threading.Event()

    def never(payload):
        stuck.wait(10)
        return payload

    apps = {"a": answering_app(backwards), "b": answering_app(never)}
    with in_memory(apps) as nodes:
        try:
            found = told(engine_over(nodes), "a", "b", deadline=0.05)
        finally:
            stuck.set()
    assert found["b"] == Failure("It did not answer within 0.05 seconds.")


def returning(nodes, after, died=True):
    """An answer of a site that dies when it was asked first, and is back in a moment."""
    asked = []

    def answer(payload):
        asked.append(payload)
        if len(asked) <= after:
            if died:
                nodes[0].away.add("a")

            def back():
                nodes[0].since["a"] = str(len(asked))
                nodes[0].away.discard("a")

            threading.Timer(0.02, back).start()
        return backwards(payload)

    return asked, answer


def test_a_site_that_died_with_its_message_is_sent_the_same_bytes_when_it_is_back():
    nodes = []
    asked, answer = returning(nodes, after=2)
    with in_memory({"a": answering_app(answer)}) as one:
        nodes.append(one)
        assert told(engine_over(one, patience=10.0), "a") == {"a": b"egassem"}
    assert asked == [b"message"] * 3


def test_what_a_site_answers_counts_also_if_it_connected_anew_meanwhile():
    working, asked = threading.Event(), []

    def slow(payload):
        asked.append(payload)
        working.wait(10)
        return backwards(payload) if len(asked) == 1 else b"another"

    with in_memory({"a": answering_app(slow)}) as nodes:

        def connect_anew():
            nodes.since["a"] = "later"
            time.sleep(0.05)  # it is sent its message once more
            working.set()

        threading.Timer(0.02, connect_anew).start()
        assert told(engine_over(nodes), "a") == {"a": b"egassem"}


def test_a_site_that_is_gone_each_time_has_failed(monkeypatch):
    monkeypatch.setattr(over_flower, "_MOST", 3)
    nodes = []
    asked, answer = returning(nodes, after=100)
    with in_memory({"a": answering_app(answer)}) as one:
        nodes.append(one)
        found = told(engine_over(one, patience=10.0), "a")
    assert found == {"a": Failure("It was sent its message 3 times, and was gone each time.")}
    assert asked == [b"message"] * 3


def test_a_site_that_flower_gave_up_is_sent_its_message_when_it_is_back():
    asked = []

    def answer(payload):
        asked.append(payload)
        if len(asked) == 1:
            nodes.away.add("a")
            nodes.state.deactivate_node(nodes.ids["a"])
            threading.Timer(0.02, back).start()
        return backwards(payload)

    def back():
        nodes.state.activate_node(nodes.ids["a"], 1e6)
        nodes.away.discard("a")  # and nothing else says that it was gone

    with in_memory({"a": answering_app(answer)}) as nodes:
        assert told(engine_over(nodes, patience=10.0), "a") == {"a": b"egassem"}
    assert len(asked) == 2


def test_a_node_that_flower_does_not_know_any_more_is_away():
    with in_memory({"a": answering_app(backwards)}) as nodes:
        engine = replace(engine_over(nodes), directory=lambda: {"a": over_flower.Present(12345)})
        assert told(engine, "a") == {"a": Failure("It is not connected.")}


def test_an_answer_that_nobody_vouched_for_is_none():
    def check(site, payload, said):
        if said != b"by " + payload:
            raise Unproven("It is by somebody else.")

    apps = {
        "a": answering_app(backwards, lambda payload: b"by " + payload),
        "b": answering_app(backwards, lambda payload: b"by another"),
    }
    with in_memory(apps) as nodes:
        found = told(engine_over(nodes, check=check), "a", "b")
    assert found == {"a": b"egassem", "b": Failure("It is by somebody else.")}


FOREIGN = {
    "nothing": RecordDict(),
    "an array": RecordDict({"0": ArrayRecord()}),
    "no bytes": RecordDict({"0": ConfigRecord({"bytes": "text", "said": b""})}),
    "a number": RecordDict({"0": ConfigRecord({"bytes": b"", "said": 10**13})}),
    "numbers": RecordDict({"0": ConfigRecord({"bytes": b"", "said": [300]})}),
    "nothing said": RecordDict({"0": ConfigRecord({"bytes": b""})}),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_an_answer_that_is_none_of_ours_is_a_failure(what):
    from flwr.clientapp import ClientApp

    app = ClientApp()

    @app.query()
    def query(message, context):
        return Message(FOREIGN[what], reply_to=message)

    with in_memory({"a": app}) as nodes:
        found = told(engine_over(nodes), "a")
    assert found == {"a": Failure("It sent a message that carries no payload.")}


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("It has no memory left.", "It has no memory left."),
        ("Two\nlines.", "Two lines."),
        ("", "It failed, and did not say why."),
        ("x" * 10_000, "x" * 500 + "..."),
        ("\x1b[2J\nhospital-b takes part", "?[2J hospital-b takes part"),
    ],
)
def test_a_site_says_in_a_sentence_why_it_does_not_answer(said, heard):
    with in_memory({"a": answering_app(lambda payload: Failure(said))}) as nodes:
        assert told(engine_over(nodes), "a") == {"a": Failure(heard)}


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 1005])
def test_a_large_payload_travels_in_pieces_and_arrives_whole(size, monkeypatch):
    monkeypatch.setattr(over_flower, "_PIECE", 10)
    payload = bytes(i % 251 for i in range(size))
    with in_memory({"a": answering_app(backwards)}) as nodes:
        assert told(engine_over(nodes), "a", payload=payload) == {"a": payload[::-1]}
    ((_, message),) = nodes.seen
    pieces = [record["bytes"] for record in message.content.config_records.values()]
    assert max(map(len, pieces)) <= 10
    assert len(pieces) == max(1, -(-size // 10))
    assert combined.carried(message) == payload


def test_what_is_vouched_is_beside_the_first_piece_whatever_the_order(monkeypatch):
    monkeypatch.setattr(over_flower, "_PIECE", 3)
    content = content_of(b"0123456789", b"by me")
    assert payload_of(RecordDict({n: content[n] for n in reversed([*content])})) == (
        b"0123456789",
        b"by me",
    )


def test_a_message_that_carries_no_payload_is_not_answered():
    with in_memory({"a": answering_app(backwards)}) as nodes:
        message = Message(RecordDict(), nodes.ids["a"], "query")
        (name,) = nodes.grid.push_messages([message])
        replies = []
        while not replies:
            replies = [*nodes.grid.pull_messages([name])]
    assert replies[0].error.reason == "It sent a message that carries no payload."


def test_answers_are_taken_one_at_a_time_and_none_is_lost_with_another(monkeypatch):
    apps = {site: answering_app(backwards) for site in "abc"}
    with in_memory(apps) as nodes:
        pulled, original = [], nodes.grid.pull_messages

        def pull(names):
            pulled.append([*names])
            return original(names)

        monkeypatch.setattr(nodes.grid, "pull_messages", pull)
        assert {*told(engine_over(nodes), *"abc")} == {*"abc"}
    assert {len(names) for names in pulled} == {1}


def test_whoever_was_waited_for_once_is_not_waited_for_again_until_it_is_back():
    with in_memory({"a": answering_app(lambda payload: payload[::-1])}) as nodes:
        engine = engine_over(nodes, patience=0.3)
        nodes.away.add("a")
        began = time.monotonic()
        assert isinstance(told(engine, "a")["a"], Failure)
        first, began = time.monotonic() - began, time.monotonic()
        assert isinstance(told(engine, "a")["a"], Failure)
        assert time.monotonic() - began < 0.2 < first
        nodes.away.clear()
        assert told(engine, "a") == {"a": b"egassem"}
        assert engine.away == {}


def test_an_exchange_without_a_deadline_ends_all_the_same():
    with in_memory({"a": answering_app(lambda payload: time.sleep(0.5) or payload)}) as nodes:
        found = told(engine_over(nodes, longest=0.05), "a", deadline=None)
        assert found["a"] == Failure("It did not answer within 0.05 seconds.")
