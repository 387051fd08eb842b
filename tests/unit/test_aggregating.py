"""What a round's answers make of the server's state, and when they make nothing of it."""

from __future__ import annotations

import math

import pytest
import torch

from fedbench.engines.in_process import InProcess
from fedbench.errors import FedbenchError
from fedbench.rules import RULES, rule_of
from fedbench.wire import framed, opened
from tests import bigram
from tests.payloads import changed, header_of
from tests.unit.test_federation import HELD, failing, run, same, training_of_round_1

#: rules that have no meaning for a table and a bias
OF_LORA = {"flexlora", "flora", "fedex-lora", "hetlora", "ffa-lora", "rolora", "fedsa-lora"}


def every_site(when, how):
    """An engine that does ``how`` to all replies to messages of which ``when`` holds."""

    class Changing(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                yield site, how(reply) if when(header_of(messages[site])) else reply

    return Changing


def in_training(header):
    return header["kind"] == "train"


@pytest.mark.parametrize("weight", [-1.0, 1e39, 10**400, 2.0**31 * 1.01, 5e-324, True, "9", [1]])
@pytest.mark.parametrize("rule", ["fedavg", "median", "krum", "scaffold"])
def test_a_weight_that_no_site_can_have_is_refused(tmp_path, weight, rule):
    optimizer = "sgd" if rule == "scaffold" else "adamw"
    config = bigram.config(sites=3, rule=rule, optimizer=optimizer)
    engine = failing(training_of_round_1, lambda reply: changed(reply, weight=weight))
    log = run(config, tmp_path, engine=engine).log
    assert "the weight" in log[1]["refused"]["site-01"]
    assert all(record["cohort"] for record in log)


@pytest.mark.parametrize("rule", sorted({*RULES} - OF_LORA))
def test_a_round_without_any_weight_is_abandoned_and_the_next_one_is_not(tmp_path, rule):
    optimizer = "sgd" if rule in ("scaffold", "fednova") else "adamw"
    config = bigram.config(sites=3, rule=rule, optimizer=optimizer)
    engine = every_site(training_of_round_1, lambda reply: changed(reply, weight=0))
    found = run(config, tmp_path, engine=engine)
    assert [len(record["cohort"]) for record in found.log] == [3, 0, 3]
    assert "have no weight" in found.log[1]["abandoned"]
    assert found.log[0]["validation_loss"] == found.log[1]["validation_loss"]
    assert all(torch.isfinite(tensor).all() for tensor in found.adapter.values())


def test_finite_updates_whose_sum_is_not_finite_leave_the_state_as_it_is(tmp_path, monkeypatch):
    from dataclasses import replace

    rule = rule_of("fedavg")
    vast = 3e38

    def upload(message, trained, state, work):
        contribution, state = rule.upload(message, trained, state, work)
        return replace(
            contribution, tensors={n: t.sign() * vast for n, t in contribution.tensors.items()}
        ), state

    monkeypatch.setitem(RULES, "vast", lambda: replace(rule, name="vast", upload=upload))
    with pytest.raises(FedbenchError, match=r"Not one update was accepted.*is not finite"):
        run(bigram.config(sites=3, rule="vast"), tmp_path)


@pytest.mark.parametrize("name", ["examples", "tokens", "flops", "loss", "steps"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1, 10**400, 2**54, None, "many", True])
def test_an_update_with_counts_that_cannot_be_is_refused(tmp_path, name, value):
    config = bigram.config(sites=3, rounds=2)
    engine = failing(training_of_round_1, lambda reply: changed(reply, **{name: value}))
    log = run(config, tmp_path, engine=engine).log
    assert f"Its reply has {name}" in log[1]["refused"]["site-01"]


@pytest.mark.parametrize("name", ["examples", "tokens", "flops", "loss", "steps"])
def test_an_update_that_does_not_say_what_work_it_was_is_refused(tmp_path, name):
    def silent(reply):
        header, body = opened(reply)
        return framed({n: value for n, value in header.items() if n != name}, bytes(body))

    engine = failing(training_of_round_1, silent)
    log = run(bigram.config(sites=3, rounds=2), tmp_path, engine=engine).log
    assert log[1]["refused"] == {"site-01": f"Its update does not say {name}."}


@pytest.mark.parametrize(
    "changes",
    [
        {"n": -1},
        {"n": 10**400},
        {"correct": 7},
        {"correct": math.nan},
        {"loss": math.inf},
        {"loss": 10**400},
    ],
)
def test_a_score_with_counts_that_cannot_be_is_left_out(tmp_path, changes):
    engine = failing(lambda h: h["kind"] == "validate", lambda reply: changed(reply, **changes))
    log = run(bigram.config(sites=3), tmp_path, engine=engine).log
    assert all([*record["unheard"]] == ["site-01"] for record in log)


@pytest.mark.parametrize("value", [math.nan, -1, "low", {"a": 1}])
def test_an_epsilon_that_is_no_number_is_refused(tmp_path, value):
    privacy = {"unit": "example", "examples": 3, "clip": 0.5, "noise": 1.0}
    engine = failing(training_of_round_1, lambda reply: changed(reply, epsilon=value))
    log = run(bigram.config(sites=3, privacy=privacy), tmp_path, engine=engine).log
    assert "Its reply has epsilon" in log[1]["refused"]["site-01"]


def test_a_site_that_was_refused_and_then_answers_well_is_heard_and_not_refused(tmp_path):
    class Stuttering(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                yield site, reply[:-1]
                yield site, reply

    config = bigram.config(sites=3)
    found = run(config, tmp_path / "twice", engine=Stuttering)
    assert same(found.adapter, run(config, tmp_path / "once").adapter)
    assert not any("refused" in record or "unheard" in record for record in found.log)


def test_nothing_exact_is_told_of_private_sites(tmp_path):
    privacy = {"unit": "site", "clip": 0.5, "noise": 1.0}
    log = run(bigram.config(sites=3, privacy=privacy), tmp_path, HELD).log
    exact = ("update_spread", "train_loss", "examples", "tokens", "flops")
    assert {record[name] for record in log for name in exact} == {None}


@pytest.mark.parametrize("codec", ["int4", "bf16"])
def test_whose_turn_it_is_comes_through_a_coarse_codec_in_any_round(codec):
    import numpy as np

    from fedbench.site import message_tensors
    from fedbench.wire import schema_of
    from fedbench.wire.codecs import codec_of

    rule, chosen = rule_of("rolora"), codec_of(codec)
    adapter = {f"q.lora_{half}.default.weight": torch.ones(2, 2) for half in "AB"}
    state = rule.init(adapter, None)
    for round_ in range(300):
        message = rule.broadcast(state, "site-00")
        told = message_tensors(message)
        parts = chosen.encode(told, np.random.default_rng(round_))
        got = chosen.decode(parts, schema_of(told))
        extra = {n.partition("/")[2]: t for n, t in got.items() if n.startswith("extra/")}
        heard = message.__class__(adapter, extra)
        still = "lora_B" if round_ % 2 else "lora_A"
        assert rule.local(heard, {}).frozen == {name for name in adapter if still in name}
        state = {**state, "rounds done": state["rounds done"] + 1}
