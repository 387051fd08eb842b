"""Backbones and methods: what is trained, what is quantised, and what is refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.models import attached as attached_module
from fedbench.models.attached import attached, backbone_sizes
from fedbench.models.backbones import digest, load_model, load_tokenizer, locate, model_type
from fedbench.models.families import family_of
from fedbench.models.methods import METHODS
from fedbench.models.tensors import count_bytes, load_tensors, trained_tensors
from fedbench.resolving import resolve

ARCHITECTURES = ["llama", "qwen2", "mistral", "gemma"]
IDS = torch.tensor([[5, 9, 4, 7, 100, 200]])

#: (out, in) of every projection of the toy: hidden 64, 4 heads of 16, 2 key-value heads, 128 inner
SHAPES = {
    "q_proj": (64, 64),
    "k_proj": (32, 64),
    "v_proj": (32, 64),
    "o_proj": (64, 64),
    "gate_proj": (128, 64),
    "up_proj": (128, 64),
    "down_proj": (64, 128),
}


@pytest.fixture
def configure(backbones):
    def of(name="llama", **values):
        return resolve(RunConfig(task="toy", backbone=str(backbones(name)), **values))

    return of


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def touched(name):
    """``layers.1.self_attn.k_proj`` from the long name that peft gives a tensor."""
    return name.partition("layers.")[2].split(".")[0], next(p for p in SHAPES if p in name)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_lora_trains_two_factors_at_every_projection(configure, name):
    with attached(configure(name, rank=3)) as model:
        tensors = trained_tensors(model)
    assert {(*touched(t), "lora_A" in t) for t in tensors} == {
        (layer, projection, a) for layer in "01" for projection in SHAPES for a in (True, False)
    }
    assert sum(t.numel() for t in tensors.values()) == 2 * 3 * sum(map(sum, SHAPES.values()))
    assert count_bytes(tensors) == 4 * sum(t.numel() for t in tensors.values())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_ia3_trains_one_vector_at_keys_values_and_the_feed_forward_output(configure, name):
    with attached(configure(name, method="ia3")) as model:
        tensors = trained_tensors(model)
    assert {touched(t) for t in tensors} == {
        (layer, projection) for layer in "01" for projection in ("k_proj", "v_proj", "down_proj")
    }
    # outputs of keys and values are rescaled, but what goes into the feed-forward output
    assert sum(t.numel() for t in tensors.values()) == 2 * (32 + 32 + 128)
    assert all((tensor == 1).all() for tensor in tensors.values())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_full_trains_every_weight_once(configure, name):
    config = configure(name, method="full")
    with attached(config) as model:
        tensors = trained_tensors(model)
        every = {name for name, _ in model.named_parameters()}
    assert tensors.keys() == every
    assert count_bytes(tensors) == backbone_sizes(config)["backbone_bytes"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_fresh_adapter_changes_no_logit(configure, name, method):
    config = configure(name, method=method)
    bare = logits(attached_module._backbone_of(config))
    with attached(config) as model:
        assert torch.equal(logits(model), bare)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_detaching_leaves_the_backbone_bit_for_bit_as_it_was(configure, name, method):
    config = configure(name, method=method)
    backbone = attached_module._backbone_of(config)
    before = {n: p.detach().clone() for n, p in backbone.named_parameters()}
    seen = logits(backbone)
    for _ in range(2):
        with attached(config) as model:
            spoilt = {n: torch.full_like(t, 0.3) for n, t in trained_tensors(model).items()}
            load_tensors(model, spoilt)
            assert not torch.equal(logits(model), seen)
    assert attached_module._backbone_of(config) is backbone
    after = dict(backbone.named_parameters())
    assert after.keys() == before.keys()
    assert all(torch.equal(after[n], before[n]) for n in before)
    assert not any(p.requires_grad for p in backbone.parameters())
    assert torch.equal(logits(backbone), seen)


def test_a_run_that_fails_gives_the_backbone_back_all_the_same(configure):
    config = configure(method="full")
    seen = logits(attached_module._backbone_of(config))

    def fail():
        with attached(config) as model:
            load_tensors(model, {n: t * 0 for n, t in trained_tensors(model).items()})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert torch.equal(logits(attached_module._backbone_of(config)), seen)


def test_methods_follow_one_another_on_one_backbone(configure):
    def lora():
        with attached(configure(method="lora")) as model:
            return trained_tensors(model)

    first = lora()
    for method in ("ia3", "full"):
        with attached(configure(method=method)):
            pass
    again = lora()
    assert first.keys() == again.keys()
    assert all(torch.equal(first[n], again[n]) for n in first)


def test_the_initial_adapter_is_a_function_of_the_seed_alone(configure):
    def initial(seed):
        torch.manual_seed(int.from_bytes(str(torch.rand(1)).encode()[:4], "big"))
        before = torch.random.get_rng_state()
        with attached(configure(seed=seed)) as model:
            tensors = trained_tensors(model)
        assert torch.equal(torch.random.get_rng_state(), before)
        return torch.cat([tensors[name].flatten() for name in sorted(tensors)])

    assert torch.equal(initial(0), initial(0))
    assert not torch.equal(initial(0), initial(1))


def test_lora_is_scaled_by_alpha_over_rank(configure):
    changes = []
    for alpha in (4, 8):
        with attached(configure(rank=4, alpha=alpha)) as model:
            bare = logits(model)
            tensors = {
                n: torch.full_like(t, 1e-5) if "lora_B" in n else t
                for n, t in trained_tensors(model).items()
            }
            load_tensors(model, tensors)
            changes.append(logits(model) - bare)
    # in the limit of small B the change is linear in the scale
    assert changes[1].norm().item() == pytest.approx(2 * changes[0].norm().item(), rel=0.02)


def test_an_adapter_is_fp32_on_a_bf16_backbone(configure):
    with attached(configure(dtype="bfloat16")) as model:
        assert {t.dtype for t in trained_tensors(model).values()} == {torch.float32}
        assert model.dtype == torch.bfloat16


def test_tensors_that_do_not_fit_the_model_are_refused(configure):
    with attached(configure()) as model:
        tensors = trained_tensors(model)
        name = next(iter(tensors))
        with pytest.raises(ValueError, match="not the model's trainable"):
            load_tensors(model, {n: t for n, t in tensors.items() if n != name})
        with pytest.raises(ValueError, match="has shape"):
            load_tensors(model, tensors | {name: torch.zeros(2)})


def four_bit_layers(model):
    from bitsandbytes.nn import Linear4bit

    return {name: m for name, m in model.named_modules() if isinstance(m, Linear4bit)}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_qlora_holds_every_projection_in_four_bits(configure, name):
    config = configure(name, method="qlora")
    with attached(config) as model:
        layers = four_bit_layers(model)
        assert len(layers) == 2 * len(SHAPES)
        for layer_name, layer in layers.items():
            rows, columns = SHAPES[touched(layer_name)[1]]
            assert layer.weight.dtype == torch.uint8
            assert layer.weight.numel() == rows * columns // 2
            assert layer.weight.quant_state.quant_type == "nf4"
            assert layer.weight.quant_state.nested  # double quantisation
            assert not layer.weight.requires_grad
    plain = backbone_sizes(configure(name))["backbone_bytes"]
    saved = 2 * sum(r * c for r, c in SHAPES.values()) * (4 - 0.5)
    assert plain - saved < backbone_sizes(config)["backbone_bytes"] < plain - saved * 0.9


def test_the_dequantised_twin_computes_what_the_packed_backbone_does(configure):
    packed = configure(method="qlora")
    twin = configure(method="qlora", compute="nf4-dequantised")
    assert packed.id != twin.id
    found = {}
    for config in (packed, twin):
        with attached(config) as model:
            moved = {
                n: t + 0.01 * torch.arange(t.numel()).remainder(7).reshape(t.shape)
                for n, t in trained_tensors(model).items()
            }
            load_tensors(model, moved)
            model.train()
            training = model(input_ids=IDS).logits.detach()
            model.eval()
            found[config.compute] = (training, logits(model), bool(four_bit_layers(model)))
    assert found["nf4"][2]
    assert not found["nf4-dequantised"][2]
    for mode in (0, 1):
        a, b = found["nf4"][mode], found["nf4-dequantised"][mode]
        assert ((a - b).abs().max() / b.abs().max()).item() < 1e-5


def test_quantising_really_changes_the_weights(configure):
    with attached(configure()) as model:
        plain = logits(model)
    with attached(configure(method="qlora")) as model:
        assert (logits(model) - plain).abs().max() > 1e-4


def test_scoring_repacks_nothing_whatever_the_processor(configure, monkeypatch):
    """With AVX512-BF16, bitsandbytes would compute in bf16 when scoring, and only there."""
    import bitsandbytes.nn.modules as bnb

    for name in ("has_avx512bf16", "has_avx512bf16_for_cpu"):
        if hasattr(bnb, name):
            monkeypatch.setattr(bnb, name, lambda: True)
    attached_module._backbone.cache_clear()
    with attached(configure(method="qlora")) as model:
        layers = four_bit_layers(model)
        before = {n: layer.weight.detach().clone() for n, layer in layers.items()}
        assert not any(layer.support_avx512bf16_for_cpu for layer in layers.values())
        first = logits(model)
        assert torch.equal(logits(model), first)
        for name, layer in four_bit_layers(model).items():
            assert torch.equal(layer.weight, before[name])
        model.train()
        assert torch.equal(model(input_ids=IDS).logits, first)


def copy_of(backbones, folder):
    return shutil.copytree(backbones("llama"), folder / "copy")


def test_a_pickle_is_never_loaded(backbones, tmp_path):
    folder = copy_of(backbones, tmp_path)
    weights = folder / "model.safetensors"
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(
        FedbenchError, match=r"pickle \(pytorch_model\.bin\), which is never loaded"
    ):
        locate(str(folder))


def test_safetensors_are_taken_where_a_pickle_lies_beside_them(backbones, tmp_path):
    folder = copy_of(backbones, tmp_path)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04not a pickle at all")
    model = load_model(str(folder), dtype="float32", device="cpu", compute="plain")
    assert torch.isfinite(logits(model)).all()


def test_code_that_a_tokenizer_brings_along_is_never_run(backbones, tmp_path, monkeypatch):
    """Left to itself, transformers asks on the terminal, and somebody might say yes."""
    folder = copy_of(backbones, tmp_path)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": [None, "own.Own"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: ...\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(FedbenchError, match="copy"):
        load_tokenizer(str(folder))
    assert not (tmp_path / "ran").exists()


def test_missing_weights_are_told(backbones, tmp_path):
    folder = copy_of(backbones, tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FedbenchError, match="no weights"):
        locate(str(folder))


def test_a_folder_that_is_no_model_is_told(tmp_path):
    with pytest.raises(FedbenchError, match=r"no config\.json"):
        locate(str(tmp_path))


@pytest.mark.parametrize("name", ["fedbench-lama", "/no/such/folder", "a/b/c", "./here"])
def test_an_unknown_backbone_is_told_what_there_is(name):
    with pytest.raises(FedbenchError, match="fedbench-llama, fedbench-qwen2"):
        locate(name)


def test_a_hub_backbone_that_cannot_be_had_is_one_sentence(monkeypatch):
    def offline(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(FedbenchError, match="go online or log in"):
        locate("nobody/nothing")


def test_an_architecture_without_module_names_is_refused(backbones, tmp_path):
    with pytest.raises(FedbenchError, match="bert is not supported"):
        family_of("bert")
    assert model_type(str(backbones("mistral"))) == "mistral"


def test_a_generic_tokenizer_is_not_replaced_by_that_of_the_architecture(backbones, tokenizer):
    """AutoTokenizer would return Qwen2Tokenizer with another pre-tokenizer."""
    found = load_tokenizer(str(backbones("qwen2")))
    text = "The profit of 1234 rose, didn't it?\n  Mood:"
    assert found(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert found.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    stored = json.loads((backbones("qwen2") / "tokenizer_config.json").read_text())
    assert stored["tokenizer_class"] in ("PreTrainedTokenizerFast", "TokenizersBackend")


def test_a_tokenizer_without_an_end_token_is_refused(backbones, tmp_path):
    folder = copy_of(backbones, tmp_path)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("eos_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    special = folder / "special_tokens_map.json"
    special.unlink(missing_ok=True)
    with pytest.raises(FedbenchError, match="no eos_token"):
        load_tokenizer(str(folder))


def test_sampling_settings_that_come_with_a_backbone_do_not_change_greedy_answers(
    backbones, tmp_path
):
    folder = copy_of(backbones, tmp_path)
    (folder / "generation_config.json").write_text('{"repetition_penalty": 9.0, "temperature": 2}')
    plain, odd = (
        load_model(str(name), dtype="float32", device="cpu", compute="plain")
        for name in (backbones("llama"), folder)
    )
    options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0, "eos_token_id": 0}
    mask = torch.ones_like(IDS)
    written = [m.generate(input_ids=IDS, attention_mask=mask, **options) for m in (plain, odd)]
    assert torch.equal(*written)


def load(folder):
    return load_model(str(folder), dtype="float32", device="cpu", compute="plain")


def test_truncated_weights_are_told_in_one_sentence(backbones, tmp_path):
    folder = copy_of(backbones, tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(FedbenchError, match=r"cannot be loaded .*restore its files"):
        load(folder)


def test_weights_that_lack_a_tensor_are_refused_and_not_made_up(backbones, tmp_path):
    folder = copy_of(backbones, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("model.norm.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FedbenchError, match=r"lack model\.norm\.weight and 0 other"):
        load(folder)


def test_a_missing_tokenizer_is_told(backbones, tmp_path):
    folder = copy_of(backbones, tmp_path)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(FedbenchError, match="has no tokenizer"):
        load_tokenizer(str(folder))


def test_a_config_without_an_architecture_is_told(backbones, tmp_path):
    folder = copy_of(backbones, tmp_path)
    (folder / "config.json").write_text("{}")
    with pytest.raises(FedbenchError, match="names no model_type"):
        model_type(str(folder))


def test_a_note_beside_a_backbone_does_not_change_its_hash_but_a_weight_does(backbones, tmp_path):
    hashes = []
    for number, name in enumerate(("README.md", "corpus.json", "model.safetensors")):
        folder = copy_of(backbones, tmp_path / str(number))
        before = digest(str(folder))
        digest.cache_clear()
        with (folder / name).open("ab") as handle:
            handle.write(b" ")
        hashes.append(digest(str(folder)) == before)
    assert hashes == [True, True, False]
