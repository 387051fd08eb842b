"""What a site takes for a message, and what it remembers of those before."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedbench import receiving
from fedbench.engines import Failure
from fedbench.engines.in_process import InProcess
from fedbench.errors import Replaceable
from fedbench.headers import to_train
from fedbench.rules import RULES, rule_of
from fedbench.wire import encode, framed, opened, schema_of
from fedbench.wire.codecs import codec_of
from fedbench.wire.schema import digest
from tests import bigram
from tests.payloads import TRAIN, VALIDATE, asking, changed, header_of, written
from tests.unit.test_federation import HELD, run


def answer(tmp_path, payload):
    contexts = bigram.contexts(HELD, bigram.config(), tmp_path)
    ((_, reply),) = InProcess(contexts).exchange({"site-00": payload})
    return reply


MESSAGE = rule_of("fedavg").broadcast(bigram.initial(), "site-00")


@pytest.mark.parametrize("value", [None, "1", True, -2, 10**9, 1.5, [1], {}, math.nan])
@pytest.mark.parametrize("name", ["round", "turn", "version", "accepted", "holds"])
def test_a_count_that_cannot_be_is_refused(tmp_path, name, value):
    reply = answer(tmp_path, changed(asking(TRAIN, MESSAGE), **{name: value}))
    assert isinstance(reply, Failure)
    assert f"A payload to train has {name}" in reply.reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("local_passes", value) for value in (None, "2", -1, math.nan, math.inf, True, 10**400)),
        *(("progress", value) for value in (None, 1, [], [0.0], [0, 2], [0, "1"], [0, math.nan])),
        *(("form", value) for value in (None, "half", 1)),
    ],
)
def test_a_field_that_cannot_be_is_refused(tmp_path, name, value):
    reply = answer(tmp_path, changed(asking(TRAIN, MESSAGE), **{name: value}))
    assert isinstance(reply, Failure)
    assert f"has {name}" in reply.reason


@pytest.mark.parametrize("kind", [None, [], {}, 7, "dance", "update"])
def test_a_kind_that_no_site_knows_is_refused(tmp_path, kind):
    reply = answer(tmp_path, changed(asking(TRAIN, MESSAGE), kind=kind))
    assert isinstance(reply, Failure)
    assert "which no site does" in reply.reason


def test_a_personal_adapter_that_is_not_there_is_said_to_be_missing(tmp_path):
    reply = answer(tmp_path, asking(VALIDATE | {"personal": True}, MESSAGE))
    assert reply == Failure("A payload asks for a personal adapter, and this site has none yet.")


@pytest.mark.parametrize("size", [10**30, 2**31])
def test_a_tensor_of_impossible_size_is_refused_though_it_has_no_numbers(tmp_path, size):
    layout = (("adapter/table", (0, size)),)
    header = {**TRAIN, "codec": "fp32", "schema": digest(layout), "layout": layout}
    assert isinstance(answer(tmp_path, framed(header, b"")), Failure)


def test_a_message_that_was_refused_leaves_nothing_behind(tmp_path):
    refused = framed({**TRAIN, "schema": "", "layout": 7, "codec": "fp32"}, b"")
    assert isinstance(answer(tmp_path, refused), Failure)
    assert isinstance(answer(tmp_path, asking(TRAIN, MESSAGE)), bytes)


def test_layouts_that_are_not_used_any_more_are_forgotten_and_others_never_told_twice(
    tmp_path, monkeypatch
):
    """A rule that tells one number more in every round, beside what stays."""
    rule = rule_of("fedavg")

    def broadcast(state, site):
        message = rule.broadcast({n: t for n, t in state.items() if n != "rounds"}, site)
        return replace(message, extra={"more": torch.zeros(int(state["rounds"]) + 1)})

    growing = replace(
        rule,
        name="growing",
        init=lambda adapter, config: {**adapter, "rounds": torch.zeros(1)},
        broadcast=broadcast,
        server=lambda state, given: {
            **rule.server({n: t for n, t in state.items() if n != "rounds"}, given),
            "rounds": state["rounds"] + 1,
        },
    )
    monkeypatch.setitem(RULES, "growing", lambda: growing)
    told = []

    class Listening(InProcess):
        def exchange(self, messages, deadline=None):
            for site, payload in messages.items():
                told.append((site, header_of(payload)["schema"], "layout" in header_of(payload)))
            return super().exchange(messages, deadline)

    config = bigram.config(rule="growing", rounds=12, passes=12, participation=0.67)
    log = run(config, tmp_path, engine=Listening).log
    assert not any("refused" in record or "unheard" in record for record in log)
    layouts = [(site, schema) for site, schema, whole in told if whole]
    assert len(layouts) == len(set(layouts)) == len(log[0]["cohort"]) + 3 * 12
    for site in HELD:
        assert len(json.loads((tmp_path / "sites" / site / "schemas.json").read_text())) == 4


def test_a_layout_that_is_used_all_the_time_is_not_forgotten_for_others(tmp_path):
    """Told once and used between ten others, each told and used once."""
    stays, codec = {"w": torch.ones(3)}, codec_of("fp32")
    name = digest(schema_of(stays))
    header, body = opened(written({}, stays))
    receiving.told(header, body, tmp_path, 100)
    for size in range(10):
        other = opened(written({}, {"v": torch.ones(size + 1)}))
        receiving.told(*other, tmp_path, 100)
        header, body = opened(encode({}, stays, codec, np.random.default_rng(0), {name}))
        assert "layout" not in header
        assert torch.equal(receiving.told(header, body, tmp_path, 100)["w"], stays["w"])
    kept = [name for name, _ in json.loads((tmp_path / "schemas.json").read_text())]
    assert len(set(kept)) == len(kept) == 4


def test_a_change_of_other_tensors_than_are_held_is_refused(tmp_path):
    config = bigram.config(codec_down="delta")
    contexts = bigram.contexts(HELD, config, tmp_path)
    engine = InProcess(contexts)
    ((_, first),) = engine.exchange({"site-00": asking(VALIDATE, MESSAGE)})
    assert isinstance(first, bytes)
    header = VALIDATE | {"form": "change", "holds": 0, "version": 1}
    other = replace(MESSAGE, adapter={"table": torch.zeros(2, 7), "bias": torch.zeros(7)})
    ((_, reply),) = engine.exchange({"site-00": asking(header, other)})
    assert "other tensors than this site holds" in reply.reason


@pytest.mark.parametrize("schema", [["w"], {"w": 1}, 7])
def test_a_schema_that_is_no_name_is_refused(tmp_path, schema):
    reply = answer(tmp_path, framed({**TRAIN, "codec": "fp32", "schema": schema}, b""))
    assert isinstance(reply, Failure)


@pytest.mark.parametrize(
    "layout",
    [[["\ud800", [1]]], [[["w"], [1]]], [["w", "12"]], [["w", [1] * 65]],
     [["w", [0, *[2**31 - 1] * 40]]]],
)  # fmt: skip
def test_a_layout_of_no_tensors_is_refused(tmp_path, layout):
    told = {**TRAIN, "codec": "fp32", "schema": "0" * 16, "layout": layout}
    assert isinstance(answer(tmp_path, framed(told, b"")), Failure)


def test_a_message_without_a_schema_tells_no_tensors(tmp_path):
    reply = answer(tmp_path, framed({**TRAIN, "codec": "fp32"}, b""))
    assert "does not fit the model" in reply.reason


@pytest.mark.parametrize("remembered", ["3", "[1]", "[[1]]", '[["a", 1, 2]]', "{"])
def test_a_site_whose_memory_of_messages_is_damaged_says_so(tmp_path, remembered):
    place = tmp_path / "site-00" / "schemas.json"
    place.parent.mkdir()
    place.write_text(remembered)
    with pytest.raises(Replaceable, match=r"schemas\.json is damaged"):
        answer(tmp_path, asking(TRAIN, MESSAGE))


def test_training_without_end_is_refused(tmp_path):
    reply = answer(tmp_path, changed(asking(TRAIN, MESSAGE), local_passes=1e8))
    assert "local_passes 1e+08, which no turn of this run can need" in reply.reason


@pytest.mark.parametrize("fields", [{"rounds": 1}, {"participation": 0.01, "sites": 49},
                                    {"partition": {"sites": 3, "slowest": 0.01}}])  # fmt: skip
def test_what_a_server_asks_for_is_never_refused(fields):
    config = bigram.config(**fields)
    sites = [f"site-{n:02d}" for n in range(config.partition.sites)]
    for site in sites:
        receiving.check(VALIDATE | TRAIN | to_train(config, sites, [], site), config)


@pytest.mark.parametrize("extra", [{}, {"table": torch.zeros(7, 7)},
                                   {"table": torch.zeros(7), "bias": torch.zeros(7)}])  # fmt: skip
def test_control_variates_of_other_tensors_are_refused(tmp_path, extra):
    config = bigram.config(rule="scaffold", optimizer="sgd")
    engine = InProcess(bigram.contexts(HELD, config, tmp_path))
    told = replace(MESSAGE, extra=extra)
    ((_, reply),) = engine.exchange({"site-00": asking(TRAIN, told)})
    assert "control variates are those of other tensors" in reply.reason


@pytest.mark.parametrize("value", ["a" * 10**6, [["x" * 100] * 100] * 100])
def test_a_refusal_is_short_whatever_was_sent(tmp_path, value):
    for name in ("kind", "round"):
        reply = answer(tmp_path, changed(asking(TRAIN, MESSAGE), **{name: value}))
        assert len(reply.reason) < 300
