"""A backbone's untrained twin: the same shape and tokenizer, other weights, made once."""

from __future__ import annotations

import pytest

from fedbench.models import backbones, fresh_weights

LAYER = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def twin(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path))
    return fresh_weights.untrained(backbones.locate("fedbench-llama"))


def load(name):
    return backbones.load_model(name, dtype="float32", device="cpu", compute="plain").state_dict()


def test_the_twin_has_the_shape_and_other_weights(twin):
    mine, theirs = load(str(twin)), load("fedbench-llama")
    assert {n: t.shape for n, t in mine.items()} == {n: t.shape for n, t in theirs.items()}
    assert not mine[LAYER].equal(theirs[LAYER])


def test_the_twin_tokenises_alike(twin):
    text = "Profit rose to EUR 12.3 mn ."
    tokenizers = [backbones.load_tokenizer(name) for name in (str(twin), "fedbench-llama")]
    assert tokenizers[0](text)["input_ids"] == tokenizers[1](text)["input_ids"]


def test_the_same_weights_are_drawn_again_elsewhere(twin, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / "elsewhere"))
    again = fresh_weights.untrained(backbones.locate("fedbench-llama"))
    assert again != twin
    assert backbones.digest(str(again)) == backbones.digest(str(twin))
    assert backbones.digest(str(twin)) != backbones.digest("fedbench-llama")


def test_a_twin_that_is_there_is_not_made_again(twin):
    before = (twin / "model.safetensors").stat().st_mtime_ns
    fresh_weights.untrained(backbones.locate("fedbench-llama"))
    assert (twin / "model.safetensors").stat().st_mtime_ns == before
