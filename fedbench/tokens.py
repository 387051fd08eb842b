"""Examples as token ids, made once per run: the same for training and for scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.tasks.task import Example

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Tokenised:
    """A prompt and what each of its choices adds to it."""

    prompt: Ids
    choices: tuple[Ids, ...]
    cut: int = 0  #: tokens that the prompt lost to fit


@dataclass(frozen=True)
class Answered:
    """A training sequence; the supervised part begins at token ``start``."""

    tokens: Ids
    start: int


def tokenise(
    tokenizer: Any, examples: Sequence[Example], max_tokens: int, *, blind: bool = False
) -> list[Tokenised]:
    """Token ids of every example, or of its blind prompt with the same choices.

    A choice is tokenised together with its prompt and begins where the tokenised prompt ends: no
    template is searched for. A prompt that leaves no room for its longest choice and the end
    token within ``max_tokens`` loses its beginning, but not the token that begins every text.
    Special tokens that a text spells out are the characters that it spells.

    Raises:
        FedbenchError: a choice alone is longer than ``max_tokens``, or the tokenizer joins a
            prompt and its choice in a way that leaves no place where the choice begins.
    """
    if not examples:
        return []
    prompts = [example.blind_prompt if blind else example.prompt for example in examples]
    pairs = [p + c for p, e in zip(prompts, examples, strict=True) for c in e.choices]
    # An end token that somebody wrote into a text is text: it ends nothing and begins nothing.
    alone = tokenizer(prompts, split_special_tokens=True)["input_ids"]
    first = tokenizer.bos_token_id
    whole = iter(tokenizer(pairs, split_special_tokens=True)["input_ids"])
    return [
        _fitted(ids, [_after(ids, next(whole)) for _ in example.choices], max_tokens, first)
        for ids, example in zip(alone, examples, strict=True)
    ]


def training_sequence(example: Example, tokenised: Tokenised, end: int) -> Answered:
    """Prompt, right answer and the end token; the last two are supervised."""
    answer = tokenised.choices[example.gold]
    return Answered((*tokenised.prompt, *answer, end), len(tokenised.prompt))


def _after(prompt: Sequence[int], whole: Sequence[int]) -> Sequence[int]:
    """What a choice adds to its prompt."""
    if list(whole[: len(prompt)]) != list(prompt) or len(whole) == len(prompt):
        raise FedbenchError(
            "The tokenizer does not keep a prompt's tokens when an answer follows it, so the loss "
            "cannot be confined to the answer: let the prompt end and the answer begin differently."
        )
    return whole[len(prompt) :]


def _fitted(
    prompt: Sequence[int], choices: Sequence[Sequence[int]], max_tokens: int, first: int | None
) -> Tokenised:
    room = max_tokens - 1 - max(len(choice) for choice in choices)
    if room < 1:
        raise FedbenchError(
            f"A choice has {max_tokens - 1 - room} tokens, which leaves no room for its prompt "
            f"within max_tokens = {max_tokens}: raise max_tokens."
        )
    cut = max(0, len(prompt) - room)
    head = tuple(prompt[:1]) if cut and room > 1 and prompt[0] == first else ()
    kept = (*head, *prompt[cut + len(head) :])
    return Tokenised(kept, tuple(tuple(choice) for choice in choices), cut)
