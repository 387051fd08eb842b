"""Offloaded backbones compute what resident ones do; what cannot be placed is refused."""

from __future__ import annotations

import pytest
import torch

from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.forward import collate, describe
from fedbench.models.attached import attached
from fedbench.models.backbones import load_model
from fedbench.models.merged import merged
from fedbench.models.placement import PLACEMENTS, check_placement, is_whole
from fedbench.models.tensors import trained_tensors
from fedbench.resolving import resolve
from fedbench.running import run
from fedbench.train import plain

TOKENS, STARTS = [(5, 6, 7, 8, 9), (5, 6, 10, 11), (5, 12, 13)], [3, 2, 1]


def asked(backbone, **values):
    return resolve(RunConfig(task="lookalike_fpb", backbone=str(backbone), **values))


def learned(config):
    """What is trained at first, and the loss and gradients of one batch."""
    with attached(config) as model:
        model.train()
        initial = trained_tensors(model)
        loss = plain(model, collate(TOKENS, STARTS, "cpu"))
        gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
        return initial, loss.item(), gradients


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", ["lora", "ia3"])
@pytest.mark.parametrize("name", ["llama", "gemma2", "phi"])
def test_an_offloaded_backbone_gives_the_same_gradients(backbones, name, method, checkpointing):
    common = {"method": method, "checkpointing": checkpointing}
    initial, loss, gradients = learned(asked(backbones(name), **common))
    again, other, others = learned(asked(backbones(name), placement="offloaded", **common))
    assert other == pytest.approx(loss, rel=1e-6)
    assert gradients.keys() == others.keys()
    for key, gradient in gradients.items():
        assert torch.equal(initial[key], again[key])
        assert (others[key] - gradient).norm() <= 1e-5 * gradient.norm()


@pytest.mark.parametrize("name", ["llama", "gemma2", "phi"])
def test_every_weight_has_one_place_and_those_of_blocks_are_not_in_memory(backbones, name):
    folder = backbones(name)
    model = load_model(
        str(folder), dtype="float32", device="cpu", compute="plain", placement="offloaded"
    )
    places = PLACEMENTS["offloaded"](folder, "cpu")["device_map"]
    for weight, parameter in model.named_parameters():
        mine = [place for module, place in places.items() if weight.startswith(f"{module}.")]
        assert mine == ["disk" if ".layers." in weight else "cpu"]
        assert parameter.is_meta == (mine == ["disk"])
    assert not is_whole(model)


def test_after_a_run_an_offloaded_backbone_is_as_it_was(backbones):
    config = asked(backbones("llama"), placement="offloaded")
    with attached(config) as model:
        assert describe(model, 16, share=True)["blocks"] == "transformers"
    with attached(config) as model:
        base = [p for n, p in model.named_parameters() if ".layers." in n and "lora" not in n]
        assert all(parameter.is_meta for parameter in base)
        assert len([n for n, _ in model.named_parameters() if "lora" in n]) > 0


def test_an_adapter_is_not_folded_into_weights_that_are_elsewhere(backbones):
    with attached(asked(backbones("llama"), placement="offloaded")) as model, merged(model):
        assert not any(getattr(module, "merged_adapters", []) for module in model.modules())


def test_a_run_scores_the_same_wherever_its_blocks_lie(toy_task, backbones, monkeypatch, tmp_path):
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path))
    small = {"rounds": 1, "passes": 1, "generated": 2, "partition": {"sites": 2, "minimum": 1}}
    whole, away = (
        run(RunConfig(task=toy_task, backbone=str(backbones("llama")), placement=place, **small))
        for place in ("whole", "offloaded")
    )
    assert whole.id != away.id
    assert list(whole.items["prediction"]) == list(away.items["prediction"])
    assert whole.rounds[0]["train_loss"] == pytest.approx(away.rounds[0]["train_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"placement": "offloaded", "method": "qlora"}, r"no meaning for a quantised backbone"),
        ({"placement": "sharded"}, r"placement = sharded has no meaning on a CPU: take offloaded"),
        ({"placement": "spread"}, r"placement = 'spread'"),
    ],
)
def test_a_placement_without_a_meaning_is_refused(backbones, values, message):
    with pytest.raises(FedbenchError, match=message):
        asked(backbones("llama"), **values)


def test_blocks_are_not_spread_over_fewer_than_two_devices(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(FedbenchError, match="needs several CUDA devices, and 1 are here"):
        check_placement("sharded")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    check_placement("sharded")


def test_an_earlier_run_keeps_its_id():
    config = asked("fedbench-llama")
    assert config.id == config.model_copy(update={"placement": "whole"}).id
    assert config.id != config.model_copy(update={"placement": "offloaded"}).id
