"""A backbone's untrained twin: the same shape and tokenizer, other weights, made once."""

from __future__ import annotations

import pytest

from fedbench.errors import Damaged, FedbenchError
from fedbench.manifests import write_manifest
from fedbench.models import backbones
from tests.toys import make_backbone

LAYER = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def twin(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path))
    return backbones.locate("fedbench-llama:random")


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
    again = backbones.locate("fedbench-llama:random")
    assert again != twin
    assert backbones.digest(str(again)) == backbones.digest(str(twin))
    assert backbones.digest(str(twin)) != backbones.digest("fedbench-llama")


def test_twins_of_two_backbones_with_folders_of_one_name_are_two(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / "home"))
    mine, other = (
        make_backbone(tmp_path / name / "model", kind)
        for name, kind in (("a", "llama"), ("b", "qwen2"))
    )
    assert mine.name == other.name
    found = [backbones.model_type(f"{folder}:random") for folder in (mine, other)]
    assert found == ["llama", "qwen2"]


def test_a_disk_that_fills_up_leaves_no_half_twin(tmp_path, monkeypatch):
    from safetensors import SafetensorError
    from transformers import PreTrainedModel

    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path))
    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    with pytest.raises(FedbenchError, match=r"could not be written .*No space left.*free the disk"):
        backbones.locate("fedbench-llama:random")
    assert [path.name for path in (tmp_path / "untrained").iterdir() if path.is_dir()] == []


def test_a_twin_that_is_there_is_not_made_again(twin):
    before = (twin / "model.safetensors").stat().st_mtime_ns
    backbones.locate("fedbench-llama:random")
    assert (twin / "model.safetensors").stat().st_mtime_ns == before


def test_a_twin_whose_file_changed_is_made_again_and_the_file_is_named(twin, caplog):
    weights = twin / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"?")
    assert backbones.locate("fedbench-llama:random") == twin
    assert weights.read_bytes() == whole
    assert f"{weights} is not the file that was written" in caplog.text


def test_a_built_in_backbone_that_changed_is_not_loaded(tmp_path, monkeypatch):
    folder = make_backbone(tmp_path / "backbones" / "mine")
    write_manifest(folder, [path.name for path in backbones.meant(folder)])
    monkeypatch.setattr(backbones, "BUILT_IN", ("mine",))
    monkeypatch.setattr(backbones, "shipped", lambda name: tmp_path / name)
    backbones._located.cache_clear()
    assert backbones.locate("mine") == folder
    backbones._located.cache_clear()
    (folder / "config.json").write_bytes((folder / "config.json").read_bytes() + b" ")
    with pytest.raises(Damaged, match=r"config\.json is not the file .* git checkout"):
        backbones.locate("mine")
