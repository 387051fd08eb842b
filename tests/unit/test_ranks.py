"""Factors cut to fewer ranks and filled up again: what is trained, and what crosses the wire."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.headers import to_personalise, to_train, told, update_schemas
from fedbench.models.ranks import narrowed, padded, widened
from fedbench.resolving import resolve
from fedbench.rules import RULES, rule_of
from fedbench.wire import schema_of

A, B, OTHER = "q.lora_A.default.weight", "q.lora_B.default.weight", "q.bias"
WIDE = {A: torch.randn(4, 6), B: torch.randn(5, 4), OTHER: torch.randn(3)}
RULE = rule_of("fedavg")
EMPTY = {"schemas": [], "schemas_validation": [], "n_validation": 0}


@pytest.mark.parametrize("rank", [1, 3])
def test_the_first_ranks_are_kept_and_the_others_come_back_as_zeros(rank):
    back = widened(narrowed(WIDE, rank), rank, 4)
    assert torch.equal(back[A][:rank], WIDE[A][:rank])
    assert torch.equal(back[B][:, :rank], WIDE[B][:, :rank])
    assert not back[A][rank:].any()
    assert not back[B][:, rank:].any()


def test_what_has_the_ranks_or_no_ranks_is_handed_on_without_a_copy():
    for same in (narrowed(WIDE, 4), widened(WIDE, 4, 4), padded(WIDE, 3), narrowed(WIDE, 9)):
        assert all(same[name] is tensor for name, tensor in WIDE.items())
    assert narrowed(WIDE, 1)[OTHER] is WIDE[OTHER]


def test_ranks_are_dealt_to_sites_in_turn():
    config = RunConfig(task="", rank=8, partition={"sites": 5, "ranks": (8, 2)})
    assert [config.rank_at(f"site-{n:02d}") for n in range(5)] == [8, 2, 8, 2, 8]
    assert RunConfig(task="", rank=8).rank_at("site-03") == 8


@pytest.mark.parametrize("rank", [1, 3])
def test_a_factor_of_other_ranks_than_its_site_holds_is_refused(rank):
    with pytest.raises(ValueError, match=f"lora_A.default.weight has {rank} ranks, not 2"):
        widened(narrowed(WIDE, rank), 2, 4)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_that_promises_something_for_unequal_ranks_takes_them(name):
    config = RunConfig(task="", rule=name, optimizer="sgd", partition={"ranks": (4, 2)})
    assert not ("ranks" in rule_of(name).claims and rule_of(name).refuses(config))


def test_the_rules_that_take_unequal_ranks_are_those_that_we_know_of():
    config = RunConfig(task="", optimizer="sgd", partition={"ranks": (4, 2)})
    assert {name for name in RULES if not rule_of(name).refuses(config)} == {
        *("fedavg", "fedprox", "ffa-lora", "rolora", "flexlora", "flora", "fedex-lora", "hetlora")
    }


def test_the_progress_of_a_round_has_the_bits_of_its_share_of_all_rounds():
    for rounds in (3, 5, 6, 10, 12):
        config = RunConfig(task="", rounds=rounds, passes=7, participation=0.5)
        log = [{"round": n, "cohort": ["a"], **EMPTY} for n in range(rounds)]
        for n in range(rounds):
            found = to_train(config, ["a", "b"], log[:n], "a")
            assert found["progress"] == [n / rounds, (n + 1) / rounds]
            assert found["local_passes"] == 7 / (rounds * 0.5)


def test_own_passes_are_the_end_of_all_progress():
    config = RunConfig(task="", rounds=2, passes=4, own_passes=1)
    log = [{"round": 0, "cohort": [], **EMPTY}]
    assert to_train(config, ["a"], log, "a")["progress"] == [0.375, 0.75]
    assert to_personalise(config, [], "a")["progress"] == [0.75, 1.0]


def test_methods_without_ranks_refuse_unequal_ones():
    config = RunConfig(task="", method="ia3", partition={"ranks": (4, 2)})
    with pytest.raises(FedbenchError, match=r"partition.ranks has no meaning for method ia3"):
        resolve(config)


def test_an_update_of_other_ranks_than_its_site_holds_is_refused_by_the_server():
    config = RunConfig(task="", rank=4, partition={"sites": 2, "ranks": (4, 2)})
    expected = update_schemas(RULE, config, partial(told, RULE, config, WIDE))
    assert expected("site-00") == schema_of(WIDE)
    assert expected("site-01") == schema_of(narrowed(WIDE, 2)) != schema_of(WIDE)
