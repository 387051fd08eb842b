"""Scoring by likelihood: the choice that the model finds most likely after the prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from fedbench.forward import collate_branches, supervised_logits, takes_branches
from fedbench.models.merged import merged
from fedbench.tasks.task import Example
from fedbench.tokens import Ids, Tokenised

#: Tokens of one forward pass, padding included: bounds memory whatever the length of prompts.
#: On a CPU so few that activations stay in its cache: 1024 scored 1.4 times as fast as 4096.
_TOKENS_PER_BATCH = {"cpu": 1024, "cuda": 16384}
_ROOM = 64  #: tokens of choices in one row at least, however short its prompt
_GENERATED_TOGETHER = 64


Scores = list[NDArray[np.float64]]


@torch.no_grad()
def score(model: nn.Module, items: Sequence[Tokenised], device: str, *, mean: bool) -> Scores:
    """Log-likelihood in nats of every choice of every item, summed or averaged over its tokens.

    A prompt is read once for all choices that any item offers after it, and each of these is
    scored once, however many items offer it.
    """
    found: dict[tuple[Ids, Ids], float] = {}
    reduce = np.mean if mean else np.sum
    with merged(model):
        for batch in _by_tokens(_rows(model, items), _TOKENS_PER_BATCH[device]):
            pairs = [(row.prompt, choice) for row in batch for choice in row.choices]
            tokens = _token_scores(model, batch, device)
            found.update((pair, float(reduce(next(tokens)))) for pair in pairs)
    return [np.array([found[i.prompt, choice] for choice in i.choices]) for i in items]


def predict(scores: Scores) -> NDArray[np.int64]:
    """Index of the best choice of every item, the first of equals; -1 where a score is nan.

    A model that has diverged answers nothing, and so is right about nothing.
    """
    best = [-1 if np.isnan(row).any() else int(np.argmax(row)) for row in scores]
    return np.array(best, dtype=np.int64)


def gold_loss(scores: Scores, gold: Sequence[int]) -> float:
    """Mean cross entropy in nats of the gold choice among the choices of its item."""
    losses = [np.logaddexp.reduce(row) - row[g] for row, g in zip(scores, gold, strict=True)]
    return float(np.mean(losses))


def _length(item: Tokenised) -> int:
    return len(item.prompt) + sum(len(choice) - 1 for choice in item.choices)


def _rows(model: nn.Module, items: Sequence[Tokenised]) -> list[Tokenised]:
    """What is computed for ``items``, by length: a row for a prompt and choices that follow it."""
    rows = _distinct(items)
    if not takes_branches(model, max(map(_length, rows), default=0)):
        rows = [Tokenised(row.prompt, (choice,)) for row in rows for choice in row.choices]
    return sorted(rows, key=lambda row: (_length(row), row.prompt, row.choices))


def _distinct(items: Sequence[Tokenised]) -> list[Tokenised]:
    """Every prompt with all choices that items offer after it, in rows of bounded length."""
    offered: dict[Ids, dict[Ids, None]] = {}
    for item in items:
        offered.setdefault(item.prompt, {}).update(dict.fromkeys(item.choices))
    return [
        Tokenised(prompt, choices)
        for prompt, known in offered.items()
        for choices in _cut(known, max(len(prompt), _ROOM))
    ]


def _cut(choices: Iterable[Ids], room: int) -> Iterator[tuple[Ids, ...]]:
    """Parts of ``choices`` that need, together, at most ``room`` tokens beside their prompt.

    Attention grows with the square of a row's length: it should not be spent on choices that do
    not see one another.
    """
    part, length = list[Ids](), 0
    for choice in choices:
        if part and length + len(choice) - 1 > room:
            yield tuple(part)
            part, length = [], 0
        part.append(choice)
        length += len(choice) - 1  # its last token is asked for, never read
    yield tuple(part)


def _by_tokens(items: Sequence[Tokenised], budget: int) -> Iterator[list[Tokenised]]:
    """Cut ``items``, sorted by length, so that no batch exceeds the token budget."""
    batch: list[Tokenised] = []
    for item in items:
        if batch and (len(batch) + 1) * _length(item) > budget:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _token_scores(
    model: nn.Module, rows: Sequence[Tokenised], device: str
) -> Iterator[NDArray[np.float64]]:
    """Log-likelihoods of the tokens of every choice of every row, choice by choice."""
    batch = collate_branches([r.prompt for r in rows], [r.choices for r in rows], device)
    losses = cross_entropy(supervised_logits(model, batch), batch.targets, reduction="none")
    sizes = [len(choice) for row in rows for choice in row.choices]
    return iter(np.split(-losses.double().cpu().numpy(), np.cumsum(sizes)[:-1]))


@torch.no_grad()
def generate(
    model: Any, tokenizer: Any, examples: Sequence[Example], items: Sequence[Tokenised]
) -> list[int]:
    """Answer by greedy free generation: the index of the choice written, or -1.

    The prompts are those of ``items``, the same tokens as in training and scoring. An output
    counts only if it is exactly one of the choices, ended by the end token; nothing is searched
    for inside it.
    """
    order = sorted(range(len(items)), key=lambda i: len(items[i].prompt))
    answers = [-1] * len(items)
    for start in range(0, len(order), _GENERATED_TOGETHER):
        chosen = order[start : start + _GENERATED_TOGETHER]
        written = _generate_batch(model, tokenizer, [items[i] for i in chosen])
        for i, text in zip(chosen, written, strict=True):
            texts = [choice.strip() for choice in examples[i].choices]
            answers[i] = texts.index(text) if text in texts else -1
    return answers


def _generate_batch(model: Any, tokenizer: Any, items: Sequence[Tokenised]) -> list[str | None]:
    """Texts written after the prompts, None where no end token came in time."""
    end = tokenizer.eos_token_id
    longest = max(len(choice) for item in items for choice in item.choices) + 1
    prompts = [list(item.prompt) for item in items]
    width = max(len(ids) for ids in prompts)
    ids = torch.tensor([[end] * (width - len(p)) + p for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    output = model.generate(
        input_ids=ids,
        attention_mask=mask.to(model.device),
        max_new_tokens=longest,
        do_sample=False,
        pad_token_id=end,
        eos_token_id=end,
    )[:, width:].tolist()
    ended = [row[: row.index(end)] if end in row else None for row in output]
    return [None if row is None else tokenizer.decode(row).strip() for row in ended]
