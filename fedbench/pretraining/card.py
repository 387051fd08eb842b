"""The model card of a backbone, written from measured values."""

import platform
from typing import Any

import torch

from fedbench.pretraining.disclosure import shared_section
from fedbench.pretraining.pretrain import LOG, Run, mean_loss, read_log

_LAST_LINES = 10
_CARD = """\
---
language: en
library_name: transformers
pipeline_tag: text-generation
---

# {name}

A language model of {millions:.1f} million parameters ({architecture}), pretrained from random
weights for the experiments of fedbench. It is far too small to be of use for anything else:
it exists so that federated fine-tuning can be run and compared on any computer.

## Training

| | |
|---|---|
| Parameters | {parameters:,} |
| Tokens seen | {tokens_seen:,} ({passes:.2f} passes over {tokens:,} tokens) |
| Steps | {step:,} of {steps:,} |
| Loss on the training text (mean of the last logged steps) | {training_loss:.3f} |
| Loss on held-out windows (1 in 100, never trained on) | {held_out_loss:.3f} |
| Seed | {seed} |
| Hours (wall clock, pauses included) | {hours:.2f} |
| Hardware | {hardware} |
| Precision | {precision} |

Rebuild both backbones with `python -m fedbench.pretraining` (or `make backbones`) on a Debian
system. The packages are fetched from the Debian archive by name; another release of Debian has
other versions of them and then gives other weights.

## Corpus

All text comes from packages of the Debian archive under free licences. `corpus.json` has the
hash of each part.

| Source | Package and version | Licence | Documents | Tokens | Share |
|---|---|---|---:|---:|---:|
{rows}

`wordnet-answers` is made from WordNet by the code in `fedbench/pretraining/answer_formats.py`:
questions on definitions, opposites and kinds, topics, the tone of example sentences, and invented
business statements whose news is positive, neutral or negative. These statements teach the format
and the polarity of words such as "rose" and "loss", which helps with sentiment tasks, so a score
on such a task is not that of a model that never saw the question.

## What the corpus shares with the tasks

{shared}

## Limits

The model writes no reliable facts, knows English only, and carries the views and errors of its
sources, among them a dictionary of 1913 and a political FAQ.
"""


def measure(run: Run) -> dict[str, Any]:
    """Measure what the card says about a run."""
    recipe, progress = run.recipe, run.progress
    log = [line["loss"] for line in read_log(run.folder / LOG)][-_LAST_LINES:]
    seen = progress.step * recipe.batch * recipe.sequence
    return {
        "name": recipe.name,
        "architecture": type(run.model).__name__,
        "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
        "tokens_seen": seen,
        "passes": seen / run.training.size,
        "step": progress.step,
        "steps": recipe.steps,
        "training_loss": sum(log) / len(log),
        "held_out_loss": mean_loss(run.model, run.held_out, recipe),
        "seed": recipe.seed,
        "hours": progress.seconds / 3600,
        "hardware": f"one thread, {platform.machine()} CPU with {_instructions()}",
        "precision": "bfloat16 autocast" if recipe.bfloat16 else "float32",
    }


def model_card(measured: dict[str, Any], record: dict[str, Any]) -> str:
    """Write the card in Markdown."""
    return _CARD.format(
        **measured,
        millions=measured["parameters"] / 1e6,
        tokens=record["tokens"],
        rows="\n".join(_row(source, record["tokens"]) for source in record["sources"]),
        shared=shared_section(record),
    )


def _row(source: dict[str, Any], total: int) -> str:
    return (
        f"| {source['source']} | {source['package']} {source['version']} | {source['licence']} "
        f"| {source['documents']:,} | {source['tokens']:,} | {source['tokens'] / total:.1%} |"
    )


def _instructions() -> str:
    return torch.backends.cpu.get_cpu_capability()
