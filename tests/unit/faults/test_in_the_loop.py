"""Faults in federations of a toy: who fails is left out or asked again, nobody else notices."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from fedbench.engines import Failure, faulty
from fedbench.engines.in_process import InProcess
from fedbench.engines.over_processes import over_processes
from fedbench.errors import FedbenchError
from fedbench.faults import FAULTS, faults_of, plan
from fedbench.faults.fault import UNHARMED
from fedbench.federation import federate
from fedbench.files import read_json
from fedbench.site import handle
from fedbench.streams import generator
from tests import bigram
from tests.payloads import header_of
from tests.unit.test_federation import HELD, same

WHO = "site-01"
TROUBLE = ("faults", "asked_again", "twice", "micro_batch", "waited", "refused", "abandoned")
WAITS = {"deadline": 60.0}


@pytest.fixture
def befalling(monkeypatch):
    """Have certain faults befall one site, in a round and an attempt at will, and nobody else."""

    def befall(text, when=lambda round_, attempt: attempt == 0):
        def strike(config, round_, site, attempt):
            found = UNHARMED
            for kind, fault in faults_of(text).items():
                if site == WHO and when(round_, attempt):
                    key = (config.seed, round_, site, attempt, kind)
                    found = fault.strikes(found, generator("faults", *key))
                    found = replace(found, kinds=(*found.kinds, kind))
            return found

        monkeypatch.setattr(plan, "strike", strike)
        monkeypatch.setattr(faulty, "strike", strike)
        return {"faults": text}

    return befall


def run(config, folder, engine=InProcess, around=faulty.faulty):
    contexts = bigram.contexts(HELD, config, folder / "sites")
    engine = around(engine(contexts), config)
    return federate(config, engine, list(HELD), bigram.initial(), folder / "server")


def configured(**values):
    return bigram.config(**{"sites": 3, **values})


def told(record):
    return {name: record[name] for name in TROUBLE if name in record}


def test_a_federation_without_faults_says_nothing_of_them(tmp_path):
    assert [told(record) for record in run(configured(), tmp_path).log] == [{}] * 3


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("drop-out", "It dropped out after it was drawn."),
        ("silent", "It did not answer within 60 seconds."),
        ("late", "It did not answer within 60 seconds."),
        ("crash", "Its training crashed after"),
        ("memory:holds=0", "Its memory does not hold even one example"),
    ],
)
def test_who_fails_is_left_out_of_the_round_and_the_others_are_as_they_were(
    tmp_path, befalling, kind, reason
):
    first = lambda round_, attempt: round_ == 0  # noqa: E731
    config = configured(policy=WAITS, **befalling(kind, first), rule="scaffold", optimizer="sgd")
    found = run(config, tmp_path / "faulty")
    assert [record["cohort"] for record in found.log] == [["site-00", "site-02"], *[[*HELD]] * 2]
    assert found.log[0]["refused"][WHO].startswith(reason)
    assert found.log[0]["faults"] == {WHO: [kind.partition(":")[0]]}
    assert found.log[0].get("waited") == (60.0 if kind in ("silent", "late") else None)
    assert [told(record) for record in found.log[1:]] == [{}] * 2

    class Losing(InProcess):
        def exchange(self, messages, deadline=None):
            for site, answer in super().exchange(messages, deadline):
                header = header_of(messages[site])
                gone = header["kind"] == "train" and header["round"] == 0 and site == WHO
                yield site, Failure("Lost.") if gone else answer

    lost = run(config.model_copy(update={"faults": "none"}), tmp_path / "lost", Losing)
    assert same(found.adapter, lost.adapter)


@pytest.mark.parametrize(
    "values",
    [
        {"rule": "scaffold", "optimizer": "sgd"},
        {"codec": "ef+top-k:share=0.5"},
        {"codec": "int8", "codec_down": "delta+int4"},
        {"privacy": {"unit": "example", "clip": 1.0, "noise": 1.0, "examples": 3}},
        {"privacy": {"unit": "site", "clip": 1.0, "noise": 1.0}},
        {"participation": 0.67, "validated_by": "cohort"},
    ],
)
@pytest.mark.parametrize("kind", ["drop-out", "silent", "late", "crash", "garbage"])
def test_an_answer_to_a_second_request_has_the_bits_of_the_first(tmp_path, befalling, kind, values):
    policy = {**WAITS, "retries": 1}
    config = configured(policy=policy, **befalling(kind), **values)
    found = run(config, tmp_path / "faulty")
    # Of the same configuration, by whose id the noise of private examples is keyed, too.
    sound = run(config, tmp_path / "sound", around=lambda engine, config: engine)
    assert same(found.adapter, sound.adapter)
    asked = [record for record in found.log if WHO in record["cohort"]]
    assert asked
    for record in found.log:
        assert "refused" not in record
        assert [*record.get("asked_again", {})] == ([WHO] if record in asked else [])


def test_a_private_turn_that_is_asked_for_again_is_spent_once(tmp_path, befalling):
    privacy = {"unit": "example", "clip": 1.0, "noise": 1.0, "examples": 3}
    config = configured(policy={"retries": 1}, privacy=privacy, **befalling("crash"))
    run(config, tmp_path)
    each = [read_json(tmp_path / "sites" / site / "privacy.json") for site in HELD]
    assert [len(ledger) for ledger in each] == [config.rounds] * 3


def test_a_late_answer_is_a_replay_in_the_next_exchange_unless_it_was_asked_for_again(
    tmp_path, befalling
):
    crossed = []

    class Tapped:
        def __init__(self, engine):
            self.engine = engine

        def exchange(self, messages, deadline=None):
            for site, answer in self.engine.exchange(messages, deadline):
                crossed.append((site, type(answer) is bytes and header_of(answer)["kind"]))
                yield site, answer

    for retries in (0, 1):
        config = configured(rounds=1, policy={**WAITS, "retries": retries}, **befalling("late"))
        contexts = bigram.contexts(HELD, config, tmp_path / f"{retries}")
        engine = Tapped(faulty.faulty(InProcess(contexts), config))
        server = tmp_path / f"server-{retries}"
        done = federate(config, engine, [*HELD], bigram.initial(), server)
        assert (WHO in done.log[0]["cohort"]) is bool(retries)
        assert crossed[:4] == [("site-00", "update"), (WHO, False), ("site-02", "update"),
                               (WHO, "update")]  # fmt: skip
        assert "unheard" not in done.log[0]
        assert done.log[0].get("twice") == ([WHO] if retries else None)  # it answered both
        crossed.clear()


def test_without_a_deadline_or_within_it_a_late_answer_counts_and_the_wait_is_told(
    tmp_path, befalling
):
    sound = run(configured(), tmp_path / "sound")
    for name, policy in {"endless": {}, "patient": {"deadline": 91}}.items():
        found = run(configured(policy=policy, **befalling("late")), tmp_path / name)
        assert same(found.adapter, sound.adapter)
        assert [told(r) for r in found.log] == [{"faults": {WHO: ["late"]}, "waited": 90.0}] * 3


def test_an_answer_that_arrives_twice_counts_once_and_its_bytes_twice(tmp_path, befalling):
    found = run(configured(rounds=1, **befalling("twice")), tmp_path / "twice")
    sound = run(configured(rounds=1), tmp_path / "sound")
    assert same(found.adapter, sound.adapter)
    assert told(found.log[0]) == {"faults": {WHO: ["twice"]}, "twice": [WHO]}
    # the run's name in a message has one length
    each = sound.log[0]["bytes_up"] / 3
    assert found.log[0]["bytes_up"] == pytest.approx(4 * each, rel=0.05)


def test_bytes_of_a_message_that_is_sent_again_count_again(tmp_path, befalling):
    config = configured(rounds=1, policy={"retries": 3}, **befalling("crash", lambda r, a: a < 3))
    found = run(config, tmp_path / "faulty").log[0]
    sound = run(configured(rounds=1), tmp_path / "sound").log[0]
    assert found["bytes_down"] == pytest.approx(sound["bytes_down"] * 6 / 3, rel=0.05)
    assert len(found["asked_again"][WHO]) == 3


def test_garbage_of_every_kind_is_refused(tmp_path):
    config = configured(rounds=12, passes=12, faults="garbage:rate=0.7", policy={"retries": 9})
    log = run(config, tmp_path / "faulty").log
    reasons = {why for record in log for of in record["asked_again"].values() for why in of}
    assert any("not a payload" in why for why in reasons)
    assert any("truncated or damaged" in why for why in reasons)
    sound = configured(rounds=12, passes=12)
    assert same(run(config, tmp_path / "b").adapter, run(sound, tmp_path / "sound").adapter)


def test_a_crash_leaves_the_next_site_of_the_process_as_it_found_it(tmp_path, befalling):
    config = configured(rounds=1, **befalling("crash"))
    contexts = bigram.contexts(HELD, config, tmp_path / "sites")
    model = contexts[WHO].model
    seen = []

    class Looking(InProcess):
        def exchange(self, messages, deadline=None):
            for site, answer in super().exchange(messages, deadline):
                left = [p.grad for p in model.parameters()]
                seen.append((site, model.training, left == [None, None]))
                yield site, answer

    engine = faulty.faulty(Looking(contexts), config)
    federate(config, engine, [*HELD], bigram.initial(), tmp_path / "server")
    assert seen
    assert {about[1:] for about in seen} == {(False, True)}


def test_memory_that_holds_less_halves_steps_and_the_record_says_how_far(tmp_path, befalling):
    values = {"batch_size": 4, "optimizer": "sgd", "learning_rate": 0.05}
    config = configured(**befalling("memory:holds=1"), **values)
    found, sound = run(config, tmp_path / "a"), run(configured(**values), tmp_path / "b")
    for record in found.log:
        assert told(record) == {"faults": {WHO: ["memory"]}, "micro_batch": {WHO: 1}}
    for name in sound.adapter:
        torch.testing.assert_close(found.adapter[name], sound.adapter[name], rtol=0, atol=1e-6)


def test_a_round_with_fewer_updates_than_the_minimum_leaves_the_adapter_as_it_was(
    tmp_path, befalling
):
    second = lambda round_, attempt: round_ == 1  # noqa: E731
    config = configured(policy={"minimum": 3}, **befalling("crash", second))
    found = run(config, tmp_path)
    assert [len(record["cohort"]) for record in found.log] == [3, 0, 3]
    assert found.log[1]["abandoned"] == (
        "The updates of 2 sites were accepted, and policy.minimum is 3."
    )
    assert found.log[1]["validation_loss"] == found.log[0]["validation_loss"]
    assert not [*(tmp_path / "server").glob("*.reply")]


@pytest.mark.parametrize("kind", ["drop-out", "silent", "late", "crash", "garbage"])
def test_where_everybody_fails_always_nothing_was_learned_and_the_error_says_so(tmp_path, kind):
    retries = 0 if kind == "late" else 1  # a late answer counts when it is asked for again
    policy = {"retries": retries} | (WAITS if kind in ("silent", "late") else {})
    config = configured(faults=f"{kind}:rate=1", policy=policy)
    with pytest.raises(FedbenchError, match="Not one update was accepted in 3 rounds"):
        run(config, tmp_path)


def test_a_defect_of_ours_is_not_hidden_as_a_fault(tmp_path, monkeypatch):
    def defective(context, payload):
        if context.site == WHO:
            raise ZeroDivisionError
        return handle(context, payload)

    monkeypatch.setattr("fedbench.engines.answering.handle", defective)
    with pytest.raises(ZeroDivisionError):
        run(configured(faults="crash:rate=0.1", policy={"retries": 5}), tmp_path)


@pytest.mark.slow
def test_who_does_a_sites_work_does_not_show_in_what_befalls_it(tmp_path):
    kinds = "+".join(f"{kind}:rate=0.2" for kind in FAULTS)
    config = configured(faults=kinds, policy={**WAITS, "retries": 2})
    alone = run(config, tmp_path / "one")
    start = partial(bigram.contexts, HELD, config, tmp_path / "others")
    with over_processes([start, start]) as engine:
        around = faulty.faulty(engine, config)
        found = federate(config, around, [*HELD], bigram.initial(), tmp_path / "two")
    assert same(found.adapter, alone.adapter)
    assert found.log == alone.log


def test_under_masks_who_fails_has_dropped_out_and_the_sum_is_that_of_the_others(
    tmp_path, befalling
):
    values = {"rounds": 2, "secure": {"bound": 4.0, "greatest_weight": 4.0, "threshold": 0.6}}
    values["policy"] = WAITS
    for kind in ("drop-out", "silent", "late", "crash", "garbage"):
        found = run(configured(**befalling(kind), **values), tmp_path / kind)
        assert [record["cohort"] for record in found.log] == [["site-00", "site-02"]] * 2
        plain = configured(**befalling(kind), **{**values, "secure": None})
        usual = run(plain, tmp_path / f"{kind}-plain")
        for name in usual.adapter:
            torch.testing.assert_close(found.adapter[name], usual.adapter[name], atol=1e-4, rtol=0)
