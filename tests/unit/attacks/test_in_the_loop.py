"""Hostile sites in whole federations of a toy: what can be refused is, and the others go on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fedbench.attacks import ATTACKS, HONEST, attack_of
from fedbench.engines import Failure
from fedbench.engines.in_process import InProcess
from fedbench.federation import federate
from fedbench.wire import opened
from tests import bigram
from tests.payloads import header_of

HELD = {
    "site-00": bigram.sequences((1, 2), (1, 2), (3, 4)),
    "site-01": bigram.sequences((1, 5), (2, 3)),
    "site-02": bigram.sequences((4, 5), (5, 1), (2, 2), (3, 3)),
}
HOSTILE = "site-01"
REFUSED = {
    "not-a-number": "is not finite",
    "infinite": "is not finite",
    "wrong-shape": "does not consist of the tensors",
    "replay": "a replay",
}


class Listening(InProcess):
    """Keeps the updates that sites answer with."""

    def exchange(self, messages, deadline=None):
        for site, reply in super().exchange(messages, deadline):
            if not isinstance(reply, Failure) and len(opened(reply)[1]):
                self.contexts[site].folder.mkdir(parents=True, exist_ok=True)
                round_ = header_of(reply)["round"]
                (self.contexts[site].folder / f"{round_}-{site}").write_bytes(reply)
            yield site, reply


def silent_from(first):
    """An engine in which no update of the hostile site arrives from round ``first`` on."""

    class Silent(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                header = header_of(messages[site])
                late = header["kind"] == "train" and header["round"] >= first
                yield site, Failure("Lost.") if site == HOSTILE and late else reply

    return Silent


def run(config, folder, attack="none", hostile=(HOSTILE,), engine=InProcess):
    contexts = bigram.contexts(HELD, config, folder / "sites")
    for site in hostile:
        contexts[site] = replace(contexts[site], attack=attack_of(attack))
    return federate(config, engine(contexts), list(HELD), bigram.initial(), folder / "server")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "codec", ["fp32", "fp16", "int8", "ef+top-k:share=0.5", "sign", "low-rank"]
)
@pytest.mark.parametrize("attack", REFUSED)
def test_what_cannot_be_used_is_refused_and_the_federation_is_that_without_it(
    tmp_path, attack, codec
):
    config = bigram.config(sites=3, codec=codec)
    first = 1 if attack == "replay" else 0  # the first time, nothing is replayed
    found = run(config, tmp_path / "attacked", attack)
    for record in found.log:
        refused = record.get("refused", {})
        assert [*refused] == ([HOSTILE] if record["round"] >= first else [])
        assert all(REFUSED[attack] in reason for reason in refused.values())
    without = run(config, tmp_path / "without", engine=silent_from(first))
    assert same(found.adapter, without.adapter)
    assert len(found.log) == config.rounds


@pytest.mark.parametrize("attack", sorted(ATTACKS.keys() - REFUSED.keys()))
def test_what_looks_like_an_update_is_not_refused(tmp_path, attack):
    found = run(bigram.config(sites=3), tmp_path, attack)
    assert not any("refused" in record for record in found.log)


@pytest.mark.parametrize("attack", ATTACKS)
def test_where_nobody_is_hostile_an_attack_changes_no_bit(tmp_path, attack):
    config = bigram.config(sites=3)
    there = run(config.model_copy(update={"attack": attack}), tmp_path / "a", attack, hostile=())
    assert same(there.adapter, run(config, tmp_path / "b").adapter)


@pytest.mark.parametrize("attack", ATTACKS)
def test_honest_sites_send_the_same_bytes_beside_a_hostile_one(tmp_path, attack):
    config = bigram.config(sites=3, rounds=1)
    run(config, tmp_path / "attacked", attack, engine=Listening)
    run(config, tmp_path / "honest", engine=Listening)
    for site in HELD:
        sent = (tmp_path / "attacked" / "sites" / f"0-{site}").read_bytes()
        honest = (tmp_path / "honest" / "sites" / f"0-{site}").read_bytes()
        alike = site != HOSTILE or attack in ("replay", "label-flip", "backdoor")
        assert (sent == honest) is alike


def test_a_flip_in_the_loop_is_minus_what_would_have_been_learned(tmp_path):
    config = bigram.config(sites=3, rounds=1, learning_rate=0.1)
    sites = ("site-00", HOSTILE, "site-02")
    flipped = run(config, tmp_path / "a", "sign-flip", hostile=sites).adapter
    honest = run(config, tmp_path / "b").adapter
    start = bigram.initial()
    for name in start:
        torch.testing.assert_close(flipped[name] - start[name], start[name] - honest[name])


@pytest.mark.parametrize("round_", [0, 2])
@pytest.mark.parametrize("attack", ["additive-noise", "replay"])
def test_an_attacked_federation_that_was_stopped_goes_on_to_the_same_bits(tmp_path, attack, round_):
    config = bigram.config(sites=3)
    whole = run(config, tmp_path / "whole", attack)

    class Stopping(InProcess):
        def exchange(self, messages, deadline=None):
            for site, reply in super().exchange(messages, deadline):
                if header_of(messages[site])["round"] == round_:
                    raise KeyboardInterrupt
                yield site, reply

    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "cut", attack, engine=Stopping)
    resumed = run(config, tmp_path / "cut", attack)
    assert same(resumed.adapter, whole.adapter)
    assert resumed.log == whole.log


def test_an_honest_context_is_the_default(tmp_path):
    contexts = bigram.contexts(HELD, bigram.config(sites=3), tmp_path)
    assert all(context.attack is HONEST for context in contexts.values())
