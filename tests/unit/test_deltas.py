"""What rules add to a backbone's weights: exact, gone without a trace, kept in what is saved."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from fedbench.config import RunConfig
from fedbench.exporting import export
from fedbench.models.attached import attached
from fedbench.models.backbones import locate
from fedbench.models.deltas import fold, side_by_side
from fedbench.models.lora_names import DOWN, UP
from fedbench.models.tensors import load_tensors, trained_tensors
from fedbench.resolving import resolve
from fedbench.rules.rule import Message
from fedbench.running import run
from fedbench.site import handle
from fedbench.wire import BadPayload
from tests import bigram
from tests.payloads import VALIDATE, asking


def asked(backbone, **values):
    return resolve(RunConfig(task="lookalike_fpb", backbone=str(backbone), rank=4, **values))


def drawn(adapter, rank, seed=0):
    """Factors of another rank for every projection."""
    random = torch.Generator().manual_seed(seed)
    found = {}
    for name, tensor in adapter.items():
        shape = list(tensor.shape)
        shape[1 if UP in name else 0] = rank
        found[name] = 0.3 * torch.randn(shape, generator=random)
    return found


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.tensor([[5, 6, 7, 8]])).logits


def frozen(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}


@pytest.mark.parametrize("name", ["llama", "qwen2", "phi"])
def test_a_delta_is_worth_the_same_ranks_in_a_wider_adapter(backbones, name):
    config = asked(backbones(name))
    with attached(config) as model:
        adapter = drawn(trained_tensors(model), 4, seed=1)
        delta = drawn(adapter, 7)
        fold(model, delta)
        load_tensors(model, adapter)
        found = logits(model)
    wide = config.model_copy(update={"rank": 11, "alpha": config.alpha * 11 / 4})
    with attached(wide) as model:
        load_tensors(model, side_by_side(adapter, delta))
        assert torch.allclose(logits(model), found, atol=1e-4)


def test_weights_come_back_bit_for_bit_whatever_was_added_meanwhile(backbones):
    config = asked(backbones("llama"))
    with attached(config) as model:
        before = frozen(model)
        adapter = trained_tensors(model)
        for seed in range(5):
            fold(model, drawn(adapter, 3, seed))
        changed = frozen(model)
        assert not all(torch.equal(before[name], changed[name]) for name in before)
        fold(model, drawn(adapter, 3, 0))
        once = frozen(model)
        fold(model, {})
        fold(model, drawn(adapter, 3, 0))
        assert all(torch.equal(once[name], found) for name, found in frozen(model).items())
    with attached(config) as model:
        assert all(torch.equal(before[name], found) for name, found in frozen(model).items())


def test_the_same_delta_is_folded_once(backbones, monkeypatch):
    with attached(asked(backbones("llama"))) as model:
        delta = drawn(trained_tensors(model), 3)
        fold(model, delta)
        monkeypatch.setattr("fedbench.models.deltas._change", None)
        fold(model, {name: tensor.clone() for name, tensor in delta.items()})


def test_weights_that_are_stored_the_other_way_round_are_added_to_the_other_way_round():
    """GPT-2's Conv1D holds (in, out)."""
    small = GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=16)
    lora = LoraConfig(r=2, lora_alpha=8, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)
    model = get_peft_model(GPT2LMHeadModel(small), lora).eval()
    adapter = drawn(trained_tensors(model), 2, seed=1)
    load_tensors(model, adapter)
    expected = logits(model)
    load_tensors(model, {n: torch.zeros_like(t) for n, t in adapter.items()})
    fold(model, adapter)
    assert torch.allclose(logits(model), expected, atol=1e-5)
    fold(model, {})


def test_a_delta_that_does_not_fit_is_refused(backbones):
    with attached(asked(backbones("llama"))) as model:
        adapter = trained_tensors(model)
        odd = {name: tensor[:, :-1] if DOWN in name else tensor for name, tensor in adapter.items()}
        with pytest.raises(ValueError, match="does not fit"):
            fold(model, odd)
        with pytest.raises(ValueError, match="has no LoRA at nowhere"):
            fold(model, {f"nowhere{UP}x": torch.ones(2, 2), f"nowhere{DOWN}x": torch.ones(2, 2)})


def test_a_site_whose_model_has_no_lora_says_that_the_payload_does_not_fit(tmp_path):
    config = bigram.config(rule="flora")
    context = bigram.contexts({"site-00": bigram.sequences((1, 2))}, config, tmp_path)["site-00"]
    delta = {f"table{UP}x": torch.ones(7, 1), f"table{DOWN}x": torch.ones(1, 7)}
    message = Message(bigram.initial(), {}, delta)
    with pytest.raises(BadPayload, match="does not fit the model"):
        handle(context, asking(VALIDATE, message))


@pytest.mark.parametrize("rule", ["flora", "fedex-lora"])
def test_what_is_exported_answers_as_what_was_scored(
    rule, toy_task, backbones, tmp_path, monkeypatch
):
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / "home"))
    done = run(
        RunConfig.model_validate(
            {
                "task": toy_task,
                "backbone": str(backbones("llama")),
                "rule": rule,
                "rank": 4,
                "learning_rate": 0.05,
                "rounds": 3,
                "passes": 3,
                "participation": 0.5,
                "generated": 0,
                "partition": {"sites": 4, "minimum": 1},
            }
        )
    )
    export(done, tmp_path / "out")
    plain = AutoModelForCausalLM.from_pretrained(locate(str(backbones("llama"))))
    untouched = logits(plain)
    exported = logits(PeftModel.from_pretrained(plain, tmp_path / "out"))
    with attached(done.config) as model:
        from safetensors.torch import load_file

        load_tensors(model, load_file(done.adapter))
        without = logits(model)
        fold(model, load_file(done.deltas["global"]))
        assert torch.allclose(logits(model), exported, atol=1e-5)
    assert not torch.allclose(exported, untouched, atol=1e-3)
    assert not torch.allclose(exported, without, atol=1e-3)


@pytest.mark.parametrize("values", [{"method": "qlora"}, {"method": "ia3"}, {"dtype": "bfloat16"}])
def test_rules_that_add_to_the_backbone_refuse_what_cannot_be_added_to(backbones, values):
    with pytest.raises(Exception, match=r"rule = 'flora' has no meaning here"):
        asked(backbones("llama"), rule="flora", **values)
