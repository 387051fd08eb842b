"""Toy backbones and tasks: real formats, milliseconds to make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEXT = (
    "the profit of the company rose in the quarter and sales grew while costs fell "
    "question answer sentiment positive negative neutral which drug treats the illness"
)


def make_backbone(directory: Path, model_type: str = "llama", *, seed: int = 0) -> Path:
    """Write a random two-layer backbone with a byte-level tokenizer; return its folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(directory)
    config = AutoConfig.for_model(
        model_type,
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    return directory


def make_tokenizer() -> Any:
    """A byte-level BPE tokenizer of a few hundred tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([TEXT], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>", pad_token="<|pad|>")


def make_task(directory: Path, *, rows: int = 60) -> Path:
    """Write a two-class task as CSV and its description; return the YAML file's path."""
    words = ("fell", "rose")
    lines = [f"profit number {i} {words[i % 2]} today,{i % 2},house {i % 3}" for i in range(rows)]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "toy.csv").write_text("\n".join(["text,mood,house", *lines]) + "\n", "utf-8")
    path = directory / "toy.yml"
    path.write_text(TASK, encoding="utf-8")
    return path


TASK = """\
name: toy
title: A toy
domain: finance
prompt: "{text}\\nMood:"
labels: {"0": bad, "1": good}
answer: {field: mood}
topic: {kind: label}
attribute: house
layouts:
  - files: {all: toy.csv}
"""


def options(folder: Path) -> dict[str, Any]:
    """Options of a run on a toy backbone and a toy task, both written under ``folder``."""
    return {
        "task": str(make_task(folder / "task")),
        "backbone": str(make_backbone(folder / "backbone")),
        "partition": {"kind": "iid", "sites": 2, "minimum": 2},
        "batch_size": 8,
        "rank": 2,
        "max_tokens": 64,
        "generated": 2,
    }
