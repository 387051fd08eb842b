"""Pairs of runs that differ in how they are computed: which are planned, what is told of them."""

from __future__ import annotations

import pytest

from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.report import computes
from fedbench.report.computes import WAYS, pairs, row


def test_every_task_of_smoke_gets_one_pair_of_every_way():
    planned = list(pairs("smoke"))
    tasks = {pair.one.task for pair in planned}
    assert len(tasks) == 4
    assert {(p.one.task, p.what) for p in planned} == {(t, what) for t in tasks for what in WAYS}


def test_the_runs_of_a_pair_differ_in_what_is_compared_and_nothing_else():
    for pair in pairs("smoke"):
        one, other = pair.one.model_dump(), pair.other.model_dump()
        odd = {name for name in one if one[name] != other[name]}
        assert odd == ({"compute"} if pair.one.method == "qlora" else {"dtype"})
        assert pair.one.setting == "federated"
        assert pair.one.partition.kind == "dirichlet"


def test_a_profile_without_federated_lora_is_refused(monkeypatch):
    base = RunConfig(task="toy", setting="base")
    monkeypatch.setattr(
        computes.profiles, "load", lambda name: computes.profiles.Profile(name, "", 1, (base,))
    )
    with pytest.raises(FedbenchError, match="no federated run with LoRA"):
        list(pairs("mine"))


def test_a_row_counts_what_is_predicted_otherwise(runs, save):
    one = next(run for run in runs if run.config.setting == "federated")
    assert row("same", one, one)["predicted_otherwise"] == 0
    other = save(one.config.model_copy(update={"dtype": "bfloat16"}), skill=0.0)
    found = row("bf16", one, other)
    assert found["predicted_otherwise"] > 0
    assert found["difference"] == found["accuracy_other"] - found["accuracy_one"]
    assert found["accuracy_one"] == pytest.approx(one.metrics["accuracy"])
    assert found["runs"].split() == [one.id, other.id]
