"""The training loop on a toy model and a toy corpus."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from fedbench.errors import FedbenchError
from fedbench.pretraining import export as exporting
from fedbench.pretraining.batches import batch_at, window_split
from fedbench.pretraining.pretrain import (
    CHECKPOINT,
    LOG,
    continue_run,
    learning_rate,
    open_run,
    read_log,
)
from fedbench.pretraining.recipes import RECIPES, Recipe
from fedbench.pretraining.tokenizer import END, encode, train_tokenizer

TOY = Recipe(
    "toy", "llama", key_value_heads=1, tokens=8 * 2 * 6, seed=3, hidden=8, intermediate=16,
    layers=1, heads=2, vocabulary=32, sequence=8, batch=2, checkpoint_every=2,
)  # fmt: skip
TOKENS = (np.arange(8 * 12) * 7 % 32).astype(np.uint16)


def train(folder: Path, until: int | None = None, recipe: Recipe = TOY) -> None:
    """Open the toy run and train it."""
    continue_run(open_run(recipe, TOKENS, "identity", folder), until)


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_a_resumed_pretraining_ends_with_the_same_bits(tmp_path: Path, architecture: str) -> None:
    recipe = replace(TOY, architecture=architecture)
    train(tmp_path / "whole", recipe=recipe)
    train(tmp_path / "stopped", until=3, recipe=recipe)
    train(tmp_path / "stopped", recipe=recipe)
    whole = load_file(tmp_path / "whole" / CHECKPOINT)
    stopped = load_file(tmp_path / "stopped" / CHECKPOINT)
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_a_finished_pretraining_is_not_done_again(tmp_path: Path) -> None:
    train(tmp_path)
    before = (tmp_path / CHECKPOINT).stat().st_mtime_ns
    train(tmp_path)
    assert (tmp_path / CHECKPOINT).stat().st_mtime_ns == before


def test_a_run_of_another_corpus_is_not_continued(tmp_path: Path) -> None:
    train(tmp_path, until=2)
    with pytest.raises(FedbenchError, match="another recipe or corpus"):
        open_run(TOY, TOKENS, "another identity", tmp_path)


def test_log_lines_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    train(tmp_path)
    with (tmp_path / LOG).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"step": 99, "loss": 1.0}) + "\n")
    train(tmp_path)
    assert [line["step"] for line in read_log(tmp_path / LOG)] == [6]


@pytest.mark.parametrize("content", [b"", b"noise", None])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    train(tmp_path, until=2)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.raises(FedbenchError, match="is damaged"):
        open_run(TOY, TOKENS, "identity", tmp_path)


def test_a_checkpoint_of_another_shape_is_one_sentence(tmp_path: Path) -> None:
    train(tmp_path, until=2)
    with pytest.raises(FedbenchError, match="of another recipe"):
        open_run(replace(TOY, hidden=16), TOKENS, "identity", tmp_path)


def test_a_log_that_cannot_be_written_or_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FedbenchError, match="could not be written"):
        train(tmp_path / "file")
    (tmp_path / LOG).write_text("{", encoding="utf-8")
    with pytest.raises(FedbenchError, match="missing or damaged"):
        read_log(tmp_path / LOG)


def test_the_rate_warms_up_and_falls_to_its_share() -> None:
    recipe = RECIPES["fedbench-llama"]
    rates = [learning_rate(recipe, step) for step in range(recipe.steps)]
    assert rates[0] < rates[10] < max(rates) == pytest.approx(recipe.peak_rate)
    assert rates[-1] == pytest.approx(recipe.peak_rate * recipe.final_rate_share, rel=0.01)


def test_held_out_windows_are_not_trained_on() -> None:
    windows, held_out = window_split(np.arange(800, dtype=np.uint16), 4)
    assert held_out[:, 0].tolist() == [0, 400]
    assert not set(windows[:, 0].tolist()) & set(held_out[:, 0].tolist())


def test_a_pass_reads_every_window_once() -> None:
    windows = np.arange(12, dtype=np.uint16).reshape(6, 2)
    seen = torch.cat([batch_at(windows, step, 2, seed=1) for step in range(3)])
    assert sorted(seen[:, 0].tolist()) == windows[:, 0].tolist()


def test_an_exported_backbone_loads_and_encodes_digits_singly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, target = prepared(tmp_path), tmp_path / "toy"
    monkeypatch.setitem(RECIPES, "toy", replace(TOY, vocabulary=300))
    continue_run(exporting.open_backbone("toy", work))
    exporting.export_backbone("toy", work, target)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(target)
    model = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32)
    ids = tokenizer("costs 123")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids)[-3:] == ["1", "2", "3"]
    assert tokenizer.eos_token_id == model.config.eos_token_id == 0
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert "has not been checked" in (target / "README.md").read_text(encoding="utf-8")


def test_an_unknown_backbone_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(FedbenchError, match="no backbone 'gpt'"):
        exporting.open_backbone("gpt", tmp_path)


def prepared(folder: Path) -> Path:
    """Lay out a prepared corpus of a few sentences."""
    documents = [f"the costs rose by {number} percent" for number in range(60)]
    tokenizer = train_tokenizer(documents, size=300)
    tokens = encode(tokenizer, documents)
    (folder / "tokens.bin").write_bytes(tokens.tobytes())
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    record = {"sources": [], "tokens": len(tokens), "tokens_sha256": END}
    (folder / "corpus.json").write_text(json.dumps(record), encoding="utf-8")
    return folder
