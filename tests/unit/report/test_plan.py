from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from fedbench.config import PartitionConfig, RunConfig
from fedbench.errors import FedbenchError
from fedbench.optimizers import OPTIMIZERS
from fedbench.report import needs
from fedbench.report import plan as planning
from fedbench.report.needs import NF4, Facts, disk, facts_of, memory, operations
from fedbench.report.plan import (
    GPUS,
    Device,
    Need,
    data_sheet,
    downloads,
    need_table,
    refusal,
    run_table,
)
from fedbench.report.shapes import KNOWN, Shape

SHAPE = Shape(
    hidden=8, between=16, layers=2, heads=4, key_heads=2, head=2, vocabulary=10, tied=True,
    bias=False,
)  # fmt: skip
FACTS = Facts(100, 20, 50, tokens=10, row=12, longest=30, source="by hand")
GPU = Device("cuda", "a GPU", 10e9, peak=100e12, watts=500)


def asked(**values):
    given = {"task": "toy", "setting": "federated", "compute": "plain", "rounds": 3, "passes": 2}
    given |= {"generated": 0, "batch_size": 4, "rank": 3}
    return RunConfig(**(given | values))


def test_training_takes_four_operations_a_weight_and_token_and_scoring_two():
    trained, test, validation = 2 * 100 * 10, 50 * (12 + 2), 3 * 20 * 12
    by_hand = SHAPE.linear * (4 * trained + 2 * (test + validation))

    assert operations(asked(), FACTS, SHAPE) == by_hand


def test_full_tuning_takes_six_operations_a_weight_and_token():
    more = operations(asked(method="full"), FACTS, SHAPE) - operations(asked(), FACTS, SHAPE)

    assert more == 2 * SHAPE.linear * 2 * 100 * 10


def test_an_untuned_backbone_is_only_scored_and_each_local_adapter_is():
    base = operations(asked(setting="base"), FACTS, SHAPE)
    sites = PartitionConfig(sites=5)
    local = operations(asked(setting="local", partition=sites), FACTS, SHAPE)

    assert base == 2 * SHAPE.linear * 50 * 14
    assert local - operations(asked(), FACTS, SHAPE) == 2 * SHAPE.linear * 4 * 50 * 14


def test_limits_of_the_configuration_cut_the_task():
    config = asked(train_limit=10, test_limit=5, validation_limit=1, max_tokens=16)

    assert needs.limited(config, FACTS) == (10, 1, 5)
    assert needs.activations(config, FACTS, SHAPE) == 4 * 16 * 2 * 4 * (8 * 8 + 2 * 4 + 4 * 16)


def test_memory_is_the_sum_of_its_stated_parts():
    config = asked(device="cuda", dtype="bfloat16")
    weights = 2 * SHAPE.parameters
    optimizer = 16 * SHAPE.trainable("lora", 3)
    values, copies = 2 * (8 * 8 + 2 * 4 + 4 * 16), 4 * (6 * 8 + 16)
    activations = 4 * 30 * 2 * (values + copies)
    logits = 4 * 8 * 10 * 4 * 3

    by_hand = 1.15 * (weights + optimizer + activations + logits) + 1e9
    assert memory(config, FACTS, SHAPE) == pytest.approx(by_hand)


def test_nf4_packs_the_projections_and_leaves_the_rest():
    config = asked(method="qlora", compute="nf4", dtype="bfloat16")
    rest = SHAPE.parameters - SHAPE.linear

    assert pytest.approx(4.127 / 8, abs=1e-4) == NF4
    assert needs.weights(config, SHAPE) == pytest.approx(SHAPE.linear * NF4 + 2 * rest)


def test_a_seven_billion_backbone_takes_the_memory_that_its_weights_take():
    config = asked(dtype="bfloat16", setting="base")

    assert needs.weights(config, KNOWN["Qwen/Qwen2.5-7B-Instruct"]) == pytest.approx(
        15.2e9, rel=0.01
    )


def test_the_disk_holds_each_adapter_and_each_scored_item():
    config = asked(setting="local", partition=PartitionConfig(sites=5))
    adapter = 4 * SHAPE.trainable("lora", 3)

    assert disk(config, FACTS, SHAPE) == 5 * adapter + 5 * 50 * needs.ITEM
    assert disk(asked(setting="base"), FACTS, SHAPE) == 50 * needs.ITEM


def test_gpu_hours_are_operations_over_what_a_gpu_reaches():
    need = Need(asked(), operations=3600 * 100e12 * 0.3, memory=0, disk=0)

    assert need.hours(GPU) == pytest.approx(1)


def test_a_task_that_is_here_is_counted_and_another_is_known_or_not():
    assert facts_of("lookalike_fpb").source == "counted here"
    assert facts_of("medqa").test == 1273


def test_only_what_is_not_here_is_downloaded():
    hub = asked(backbone="Qwen/Qwen2.5-0.5B")
    shapes = {"Qwen/Qwen2.5-0.5B": SHAPE, "fedbench-llama": SHAPE}

    assert downloads([asked(), hub], {"toy": FACTS}, shapes) == 2 * SHAPE.parameters


def need(gigabytes, stored=0.0, **values):
    return Need(asked(**values), operations=1, memory=gigabytes * 1e9, disk=stored)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA L40", None),
        ("NVIDIA GH200 480GB", None),
    ],
)
def test_a_gpu_is_known_by_whole_words_of_its_name(name, known):
    assert data_sheet(name) == GPUS.get(known, (0.0, 0.0))


def test_what_fits_is_not_refused():
    assert refusal("p", [need(9)], GPU, fetched=1e9, free=2e9) == ""


@pytest.mark.parametrize(
    ("planned", "device", "clause"),
    [
        ([need(9)], None, "no CUDA device: take one with a GPU of at least 9 GB"),
        ([need(9), need(11)], GPU, "does not fit a GPU, which has 10 GB"),
        ([need(1, stored=2e9)], GPU, "3.0 GB of disk and 2.0 GB are free"),
    ],
)
def test_what_cannot_fit_is_refused_in_one_sentence(planned, device, clause):
    assert clause in refusal("p", planned, device, fetched=1e9, free=2e9)


def test_processes_on_cores_share_the_memory(monkeypatch):
    monkeypatch.setattr("fedbench.grid.cores_here", lambda: 4)
    machine = Device("cpu", "this machine", 10e9)

    assert refusal("p", [need(2)], machine, 0, 1e12) == ""
    assert "needs about 12 GB" in refusal("p", [need(3)], machine, 0, 1e12)


def test_runs_are_counted_by_task_method_and_setting():
    lines = run_table([asked(), asked(seed=1), asked(setting="base"), asked(method="ia3")])

    assert [line.split() for line in lines] == [
        ["task", "method", "base", "local", "federated", "centralized", "runs"],
        ["toy", "lora", "1", "0", "2", "0", "3"],
        ["toy", "ia3", "0", "0", "1", "0", "1"],
        ["all", "1", "0", "3", "0", "4"],
    ]


def test_hours_are_told_for_a_gpu_only():
    assert "GPU-hours" in need_table([need(1)], GPU)[0]
    assert "GPU-hours" not in need_table([need(1)], Device("cpu", "this machine", 1e9))[0]


def test_the_plan_of_the_paper_is_told_before_it_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(planning, "gpu_here", lambda together: None)
    with pytest.raises(FedbenchError, match="no CUDA device"):
        planning.plan("paper")
    said = capsys.readouterr().out

    for word in ("GPU-hours: ", "kWh (estimated)", "downloads: 4", "disk: ", "H200", "board power"):
        assert word in said


def test_the_plan_of_a_profile_for_cores_needs_no_gpu(capsys):
    planning.plan("tiny")
    said = capsys.readouterr().out

    assert "GPU memory and GPU-hours: none" in said
    assert "the profile's file says 2 minutes" in said


def test_every_optimizer_has_a_memory():
    assert set(needs.MOMENTS) == set(OPTIMIZERS)


def test_memory_falls_with_narrow_moments_and_with_blocks_computed_again():
    trained = SHAPE.trainable("lora", 3)
    for name, each in (("adamw", 16), ("sgd", 8), ("adamw-8bit", 10), ("adamw-8bit-paged", 8)):
        beside = asked(optimizer=name, device="cuda")
        assert needs.optimizer(beside, SHAPE) == each * trained
        assert needs.optimizer(asked(optimizer=name), SHAPE) == (each + 4) * trained
    deep = replace(SHAPE, layers=16)
    kept, again = (needs.activations(asked(checkpointing=c), FACTS, deep) for c in (False, True))
    assert again == 2 * kept / 16 + 4 * 30 * 16 * 4 * SHAPE.hidden


def test_offloaded_weights_pass_through_one_block_at_a_time_unless_a_gradient_keeps_them():
    passing = asked(placement="offloaded", checkpointing=True)
    rest = 4 * (SHAPE.parameters - SHAPE.linear)
    assert needs.weights(passing, SHAPE) == 4 * SHAPE.linear / SHAPE.layers + rest
    assert needs.weights(asked(placement="offloaded"), SHAPE) == 4 * SHAPE.parameters


def test_sharded_runs_have_the_memory_of_all_gpus_together(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr(
        "torch.cuda.get_device_properties",
        lambda number: SimpleNamespace(name="NVIDIA H100 80GB HBM3", total_memory=80e9),
    )
    one, all_of_them = planning.gpu_here(), planning.gpu_here(together=True)
    assert (all_of_them.memory, all_of_them.peak) == (4 * one.memory, 4 * one.peak)
    assert all_of_them.name.startswith("4 x ")


def test_only_runs_that_are_still_to_be_done_must_fit(monkeypatch):
    monkeypatch.setattr(planning, "gpu_here", lambda together: None)
    with pytest.raises(FedbenchError, match="no CUDA device"):
        planning.check_fits("paper")
    monkeypatch.setattr(planning.store, "exists", lambda run_id: True)
    planning.check_fits("paper")


def test_nothing_is_refused_where_sizes_are_not_known(monkeypatch):
    monkeypatch.setattr(planning.grid, "planned", lambda profile: [asked(task="nobody/knows.yml")])
    planning.check_fits("mine")
