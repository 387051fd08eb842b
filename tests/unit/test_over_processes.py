"""Sites spread over worker processes: the same bits, whoever does the work, and no hanging."""

from __future__ import annotations

import os
from functools import partial

import pytest
import torch

from fedbench import running
from fedbench.config import RunConfig
from fedbench.engines import Failure
from fedbench.engines.in_process import InProcess
from fedbench.engines.over_processes import over_processes
from fedbench.errors import FedbenchError
from fedbench.federation import federate
from fedbench.running import devices_of, run
from tests import bigram
from tests.unit.test_federation import HELD, same


def leave():
    os._exit(3)


@pytest.mark.slow
def test_who_does_a_sites_work_does_not_show_in_the_result(tmp_path):
    config = bigram.config(rounds=3, passes=6)
    alone = InProcess(bigram.contexts(HELD, config, tmp_path / "sites"))
    expected = federate(config, alone, list(HELD), bigram.initial(), tmp_path / "one")
    start = partial(bigram.contexts, HELD, config, tmp_path / "others")
    with over_processes([start, start]) as engine:
        found = federate(config, engine, list(HELD), bigram.initial(), tmp_path / "two")
        damaged = dict(engine.exchange({"site-00": b"nothing", "site-01": b"nothing"}))
    assert same(found.adapter, expected.adapter)
    assert found.log == expected.log
    assert all(isinstance(answer, Failure) for answer in damaged.values())


def test_a_worker_that_dies_is_one_sentence_and_no_hanging():
    with over_processes([leave]) as engine:
        for _ in range(2):  # it stays dead
            with pytest.raises(FedbenchError, match="A worker process was killed, perhaps for"):
                list(engine.exchange({"site-00": b"", "site-01": b""}))


@pytest.mark.slow
def test_a_run_on_two_devices_ends_with_the_same_adapter(
    toy_task, backbones, monkeypatch, tmp_path
):
    config = RunConfig.model_validate(
        {
            "task": toy_task,
            "backbone": str(backbones("llama")),
            "rounds": 2,
            "passes": 2,
            "dropout": 0.1,
            "generated": 0,
            "partition": {"sites": 3, "minimum": 1},
        }
    )
    found = []
    for devices in (1, 2):
        monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / str(devices)))
        monkeypatch.setattr(running, "devices_of", lambda config, count=devices: count)
        found.append(run(config))
    one, two = found
    assert one.adapter.read_bytes() == two.adapter.read_bytes()
    assert [dict(record) for record in one.rounds] == [dict(record) for record in two.rounds]


@pytest.mark.parametrize(
    ("values", "devices"),
    [({}, 1), ({"device": "cuda"}, 4), ({"device": "cuda", "placement": "sharded"}, 1)],
)
def test_sites_are_spread_over_all_gpus_unless_the_backbone_is(monkeypatch, values, devices):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert devices_of(RunConfig(task="lookalike_fpb", **values)) == devices
