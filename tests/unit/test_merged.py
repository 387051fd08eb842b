"""Scoring with the adapter folded in: the same scores, and nothing left behind."""

from __future__ import annotations

import pytest
import torch

from fedbench.config import RunConfig
from fedbench.models.attached import attached
from fedbench.models.merged import merged
from fedbench.models.tensors import load_tensors, trained_tensors
from fedbench.resolving import resolve

IDS = torch.tensor([[5, 9, 4, 7, 100, 200]])
CASES = [(f, m) for f in ("llama", "qwen2", "mistral", "gemma") for m in ("lora", "ia3")]


@pytest.fixture
def model(backbones, request):
    """A backbone with an adapter that does something."""
    family, method = request.param
    config = resolve(RunConfig(task="toy", backbone=str(backbones(family)), method=method))
    torch.manual_seed(0)
    with attached(config) as model:
        drawn = {n: t + 0.3 * torch.randn_like(t) for n, t in trained_tensors(model).items()}
        load_tensors(model, drawn)
        yield model


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("model", CASES, indirect=True)
def test_a_folded_adapter_gives_the_same_logits(model):
    apart = logits(model)
    with merged(model):
        together = logits(model)
    assert torch.allclose(apart, together, rtol=1e-4, atol=1e-4 * apart.abs().max().item())
    assert not torch.equal(apart, together)


@pytest.mark.parametrize("model", CASES, indirect=True)
def test_the_weights_come_back_to_the_bit(model):
    before = weights(model)
    with merged(model):
        changed = weights(model)
    after = weights(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any(not torch.equal(before[name], changed[name]) for name in before)


@pytest.mark.parametrize("model", CASES[:1], indirect=True)
def test_the_weights_come_back_after_an_error(model):
    before = logits(model)
    with pytest.raises(KeyError), merged(model):
        raise KeyError
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("model", CASES[:1], indirect=True)
def test_an_adapter_that_diverged_gives_nan_and_no_error(model):
    load_tensors(model, {n: t * float("nan") for n, t in trained_tensors(model).items()})
    with merged(model):
        assert logits(model).isnan().all()
    assert not any(t.isnan().any() for n, t in weights(model).items() if "lora" not in n)


def test_a_quantised_or_narrow_backbone_is_left_as_it_is(backbones):
    for given in ({"method": "qlora"}, {"method": "lora", "dtype": "bfloat16"}):
        config = resolve(RunConfig(task="toy", backbone=str(backbones("llama")), **given))
        with attached(config) as model:
            before = weights(model)
            with merged(model):
                inside = weights(model)
        assert all(torch.equal(before[name], inside[name]) for name in before)
