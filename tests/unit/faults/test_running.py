"""Whole runs whose sites fail, on a toy task and backbone."""

from __future__ import annotations

import pytest

from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.freshness import code_of
from fedbench.running import run

MANY = "+".join(
    f"{kind}:rate=0.3" for kind in ("drop-out", "silent", "late", "crash", "garbage", "twice")
)


@pytest.fixture
def configure(backbones, toy_task):
    def of(**values):
        defaults = {
            "task": toy_task,
            "backbone": str(backbones("llama")),
            "partition": {"kind": "iid", "sites": 3, "minimum": 2},
            "rounds": 2,
            "passes": 2,
            "batch_size": 8,
            "rank": 2,
            "dropout": 0.1,
            "max_tokens": 64,
            "generated": 0,
        }
        return RunConfig.model_validate({**defaults, **values})

    return of


def test_a_run_whose_sites_all_answer_in_the_end_has_the_adapter_of_one_whose_sites_do_not_fail(
    configure,
):
    """With dropout, which a model in the wrong mode after a crash would also show in scores."""
    failing = run(configure(faults=MANY, policy={"deadline": 60, "retries": 20}))
    sound = run(configure())
    assert failing.id != sound.id
    assert failing.adapter.read_bytes() == sound.adapter.read_bytes()
    assert [*map(list, failing.items["scores"])] == [*map(list, sound.items["scores"])]
    assert any("asked_again" in record for record in failing.rounds)
    for record, usual in zip(failing.rounds, sound.rounds, strict=True):
        same = ("cohort", "validation_accuracy", "validation_loss", "train_loss", "update_spread")
        assert [record[name] for name in same] == [usual[name] for name in same]


def test_a_minimum_that_too_small_sites_put_out_of_reach_is_refused_before_training(configure):
    partition = {"kind": "iid", "sites": 5, "minimum": 8}
    with pytest.raises(FedbenchError, match=r"policy.minimum = 5 can never be reached: a cohort"):
        run(configure(partition=partition, train_limit=36, policy={"minimum": 5}))


def test_the_code_of_the_faults_counts_and_that_of_other_faults_does_not(configure, monkeypatch):
    from fedbench import freshness

    asked = {}
    monkeypatch.setattr(freshness, "fingerprint", lambda *roots: asked.setdefault("it", roots))
    code_of(configure(faults="crash+twice"))
    assert {"fedbench.faults.crash", "fedbench.faults.twice"} <= {*asked["it"]}
    assert "fedbench.faults.silent" not in asked["it"]
