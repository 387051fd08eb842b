"""Scoring by likelihood: the choice that the model finds most likely after the prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedbench.forward import collate, supervised_logits
from fedbench.tasks.task import Example
from fedbench.tokens import Answered, tokenise

#: Tokens of one forward pass, padding included: bounds memory whatever the length of prompts.
_TOKENS_PER_BATCH = 4096
_GENERATED_TOGETHER = 64


@dataclass(frozen=True)
class Question:
    """All choices of one item as token ids, ready to be scored."""

    choices: tuple[Answered, ...]
    mean: bool  #: whether a choice scores by the mean, not the sum, over its tokens


def questions(
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    mean: bool,
    max_tokens: int,
    blind: bool = False,
) -> list[Question]:
    """Tokenise every choice of every example, after its prompt or after its blind prompt."""
    pairs = [
        (example.blind_prompt if blind else example.prompt, choice)
        for example in examples
        for choice in example.choices
    ]
    answered = iter(tokenise(tokenizer, [p for p, _ in pairs], [c for _, c in pairs], max_tokens))
    return [Question(tuple(next(answered) for _ in e.choices), mean) for e in examples]


@torch.no_grad()
def score(model: nn.Module, items: Sequence[Question], device: str) -> list[NDArray[np.float64]]:
    """Log-likelihood in nats of every choice of every item, summed or averaged over its tokens.

    Choices that need the same forward pass share it: all one-token labels of a prompt do, and so
    do items with the same prompt.
    """
    answers = list({answer for item in items for answer in item.choices})
    answers.sort(key=lambda answer: (len(answer.tokens), answer.tokens, answer.start))
    inputs: dict[tuple[tuple[int, ...], int], list[Answered]] = {}
    for answer in answers:
        inputs.setdefault((answer.tokens[:-1], answer.start), []).append(answer)
    scores: dict[Answered, NDArray[np.float64]] = {}
    for group in _by_tokens(list(inputs.values())):
        scores.update(_token_scores(model, group, device))
    return [_reduce(item, scores) for item in items]


def predict(scores: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
    """Index of the best choice of every item; the first of equals."""
    return np.array([int(np.argmax(row)) for row in scores], dtype=np.int64)


def gold_loss(scores: Sequence[NDArray[np.float64]], gold: Sequence[int]) -> float:
    """Mean cross entropy in nats of the gold choice among the choices of its item."""
    losses = [np.logaddexp.reduce(row) - row[g] for row, g in zip(scores, gold, strict=True)]
    return float(np.mean(losses))


def _by_tokens(groups: list[list[Answered]]) -> Iterator[list[list[Answered]]]:
    """Cut ``groups``, sorted by length, so that no batch exceeds the token budget."""
    batch: list[list[Answered]] = []
    for group in groups:
        if batch and (len(batch) + 1) * len(group[0].tokens) > _TOKENS_PER_BATCH:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch


def _token_scores(
    model: nn.Module, groups: list[list[Answered]], device: str
) -> dict[Answered, NDArray[np.float64]]:
    """Log-probabilities of every answer token; one forward row per group."""
    batch = collate([g[0].tokens for g in groups], [g[0].start for g in groups], device)
    logs = supervised_logits(model, batch).log_softmax(-1).cpu()
    found: dict[Answered, NDArray[np.float64]] = {}
    offset = 0
    for group in groups:
        length = len(group[0].tokens) - group[0].start
        rows = logs[offset : offset + length]
        for answer in group:
            ids = torch.tensor(answer.tokens[answer.start :])
            found[answer] = rows.gather(1, ids[:, None])[:, 0].double().numpy()
        offset += length
    return found


def _reduce(item: Question, scores: dict[Answered, NDArray[np.float64]]) -> NDArray[np.float64]:
    reduce = np.mean if item.mean else np.sum
    return np.array([reduce(scores[answer]) for answer in item.choices])


@torch.no_grad()
def generate(model: Any, tokenizer: Any, examples: Sequence[Example], max_tokens: int) -> list[int]:
    """Answer by greedy free generation: the index of the choice written, or -1.

    An output counts only if it is exactly one of the choices, ended by the end token; nothing
    is searched for inside it.
    """
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].prompt))
    answers = [-1] * len(examples)
    for start in range(0, len(order), _GENERATED_TOGETHER):
        chosen = order[start : start + _GENERATED_TOGETHER]
        written = _generate_batch(model, tokenizer, [examples[i] for i in chosen], max_tokens)
        for i, text in zip(chosen, written, strict=True):
            texts = [choice.strip() for choice in examples[i].choices]
            answers[i] = texts.index(text) if text in texts else -1
    return answers


def _generate_batch(
    model: Any, tokenizer: Any, examples: Sequence[Example], max_tokens: int
) -> list[str | None]:
    """Texts written after the prompts, None where no end token came in time."""
    end = tokenizer.eos_token_id
    choices = [choice for example in examples for choice in example.choices]
    longest = max(len(ids) for ids in tokenizer(choices)["input_ids"]) + 1
    prompts = tokenizer([example.prompt for example in examples])["input_ids"]
    prompts = [ids[-(max_tokens - longest) :] for ids in prompts]
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
