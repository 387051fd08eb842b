"""Sites that end with adapters of their own, by a rule or by training on alone."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from fedbench.engines import Failure
from fedbench.engines.in_process import InProcess
from fedbench.errors import FedbenchError
from fedbench.resolving import resolve
from fedbench.rules import rule_of
from fedbench.rules.lora_halves import DOWN, UP
from fedbench.running import run
from fedbench.site import handle, personal_adapter
from tests import bigram
from tests.payloads import TRAIN, asking, header_of
from tests.unit.test_running import configure

__all__ = ["configure"]
UNEQUAL = {"kind": "iid", "sites": 2, "minimum": 2, "ranks": (2, 1)}


def tensors(found):
    return {name: load_file(path) for name, path in found.adapters.items()}


def test_after_own_passes_every_site_has_an_adapter_and_all_passes_were_done(configure):
    together, own = run(configure()), run(configure(own_passes=1))
    assert list(own.adapters) == ["site-00", "site-01"]
    assert own.metrics["examples"] == together.metrics["examples"]
    assert len(own.rounds) == len(together.rounds) + 1
    assert own.rounds[-1]["bytes_up"] < own.rounds[0]["bytes_up"] / 4
    first, second = tensors(own).values()
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_what_sites_share_does_not_depend_on_how_they_train_on_alone(configure):
    """The rounds are those of a shorter run at the same rates: nothing of a site leaves later."""
    some = configure(own_passes=1, schedule="constant", warmup=0)
    less = configure(passes=1, schedule="constant", warmup=0)
    names = ("train_loss", "validation_loss", "bytes_up", "cohort")
    for before, after in zip(run(less).rounds, run(some).rounds[:-1], strict=True):
        assert [before[name] for name in names] == [after[name] for name in names]


@pytest.mark.parametrize("rule", ["fedavg", "fedsa-lora"])
@pytest.mark.parametrize("exchanges", range(1, 8))
def test_a_run_killed_at_any_exchange_goes_on_to_the_same_personal_adapters(
    configure, tmp_path, monkeypatch, rule, exchanges
):
    """Rounds take two exchanges each: training and validation; the personal end takes two more."""
    config = configure(own_passes=1, rule=rule, rounds=3, passes=3)
    expected = tensors(run(config))
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / "again"))
    exchange, left = InProcess.exchange, [exchanges]

    def mortal(self, messages, deadline=None):
        for site, reply in exchange(self, messages, deadline):
            if not left[0]:
                raise KeyboardInterrupt  # after the site has done its work
            yield site, reply
        left[0] -= 1

    with monkeypatch.context() as patched:
        patched.setattr(InProcess, "exchange", mortal)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    for site, adapter in tensors(run(config)).items():
        assert all(torch.equal(adapter[n], expected[site][n]) for n in adapter)


def test_a_site_that_missed_rounds_goes_on_with_the_b_it_had(configure):
    """With one site to a round, the other's B is what its own last turn made of it."""
    partition = {"kind": "iid", "sites": 2, "minimum": 2}
    shared = {"rule": "fedsa-lora", "partition": partition, "participation": 0.5}
    short, long = (run(configure(**shared, rounds=n, passes=n, schedule="constant", warmup=0))
                   for n in (3, 4))  # fmt: skip
    (last,) = long.rounds[3]["cohort"]
    (idle,) = {"site-00", "site-01"} - {last}
    assert [r["cohort"] for r in short.rounds[:3]] == [r["cohort"] for r in long.rounds[:3]]
    before, after = tensors(short), tensors(long)
    for name in before[idle]:
        if UP in name:
            assert torch.equal(before[idle][name], after[idle][name])
            assert not torch.equal(before[last][name], after[last][name])


def losing(monkeypatch, *sites):
    """An engine that loses what ``sites`` answer when they are asked to train on alone."""
    exchange = InProcess.exchange

    def lossy(self, messages, deadline=None):
        for site, reply in exchange(self, messages, deadline):
            lost = site in sites and header_of(messages[site])["kind"] == "personalise"
            yield site, Failure("Its line is dead.") if lost else reply

    monkeypatch.setattr(InProcess, "exchange", lossy)


@pytest.mark.parametrize("rule", ["fedavg", "fedsa-lora"])
def test_a_site_that_does_not_answer_at_the_end_is_left_without_an_adapter_alone(
    configure, monkeypatch, tmp_path, rule
):
    config = configure(own_passes=1, rule=rule)
    expected = tensors(run(config))
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / "again"))
    losing(monkeypatch, "site-00")
    found = run(config)
    assert [*found.adapters] == ["site-01"]
    assert found.rounds[-1]["cohort"] == ["site-01"]
    assert found.rounds[-1]["refused"] == {"site-00": "Its line is dead."}
    assert {*found.items["adapter"]} == {"site-01"}
    assert found.metrics["accuracy"] == found.items.eval("gold == prediction").mean()
    own = tensors(found)["site-01"]
    assert all(torch.equal(own[name], expected["site-01"][name]) for name in own)


def test_a_federation_of_which_no_site_ends_with_an_adapter_is_no_result(configure, monkeypatch):
    losing(monkeypatch, "site-00", "site-01")
    with pytest.raises(FedbenchError, match=r"No site .* adapter: site-00: Its line is dead"):
        run(configure(own_passes=1))


def test_private_gradients_that_are_not_finite_count_for_nothing_and_no_server_is_told(tmp_path):
    """A refusal would tell of an example, to whoever chose the adapter that a turn begins from."""
    privacy = {"unit": "example", "examples": 3, "clip": 0.5, "noise": 1.0}
    config = bigram.config(privacy=privacy, own_passes=1, passes=3)
    broken = bigram.contexts({"site-00": bigram.sequences((1, 2))}, config, tmp_path)["site-00"]
    message = rule_of("fedavg").broadcast(bigram.initial(), "site-00")
    asked = TRAIN | {"kind": "personalise", "local_passes": 3.0}
    usual = header_of(handle(broken, asking(asked, message)))
    message.adapter["table"][1] = math.inf
    told = header_of(handle(broken, asking(asked, message)))
    assert told == usual | {"answers": told["answers"]}  # to which message it is an answer
    assert personal_adapter(tmp_path, "site-00")["bias"].isfinite().all()


def test_what_a_rule_freezes_stays_frozen_while_a_site_trains_on_alone(configure):
    found, fresh = run(configure(rule="ffa-lora", own_passes=1)), run(configure(rule="ffa-lora"))
    first, second = tensors(found).values()
    shared = load_file(fresh.adapter)
    for name in first:
        if DOWN in name:
            assert torch.equal(first[name], shared[name])
            assert torch.equal(second[name], shared[name])
        else:
            assert not torch.equal(first[name], second[name])


def test_under_fedsa_lora_sites_end_with_one_a_and_with_their_own_b(configure):
    found = run(configure(rule="fedsa-lora"))
    first, second = tensors(found).values()
    same = {name for name in first if torch.equal(first[name], second[name])}
    assert same == {name for name in first if DOWN in name}
    assert all(first[name].any() for name in first if UP in name)
    assert found.rounds[-1]["examples"] == found.rounds[-1]["steps"] == 0
    assert found.metrics["examples"] == 2 * found.metrics["n_train"]


def test_under_fedsa_lora_b_never_crosses_the_wire(configure):
    shared, whole = run(configure(rule="fedsa-lora")), run(configure())
    for record, other in zip(shared.rounds, whole.rounds, strict=False):
        assert record["bytes_up"] < 0.8 * other["bytes_up"]
        assert record["bytes_down"] < 0.8 * other["bytes_down"]


def test_fedsa_lora_has_no_meaning_where_there_is_one_adapter(configure):
    with pytest.raises(FedbenchError, match="the setting centralized has a single one"):
        resolve(configure(rule="fedsa-lora", setting="centralized"))


@pytest.mark.parametrize("rule", ["fedavg", "hetlora", "flexlora", "flora", "fedex-lora", "rolora"])
def test_sites_of_fewer_ranks_send_less_and_take_part(configure, rule):
    found, equal = run(configure(rule=rule, partition=UNEQUAL)), run(configure(rule=rule))
    for record, other in zip(found.rounds, equal.rounds, strict=True):
        assert record["bytes_up"] < other["bytes_up"]
        assert record["bytes_down"] < other["bytes_down"]
    # The first round is the same work on the same data, with a rank less at one site.
    assert found.rounds[0]["examples"] == equal.rounds[0]["examples"]
    assert found.rounds[0]["train_loss"] != equal.rounds[0]["train_loss"]


def test_a_site_alone_trains_the_ranks_that_it_holds_and_no_other(configure):
    found = run(configure(setting="local", partition=UNEQUAL))
    wide, narrow = tensors(found)["site-00"], tensors(found)["site-01"]
    for name in narrow:
        if UP in name:
            assert narrow[name][:, 0].any()
            assert not narrow[name][:, 1].any()
            assert wide[name][:, 1].any()
