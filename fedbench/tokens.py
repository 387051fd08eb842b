"""Examples as token ids: the prompt and the answer, tokenised as one text, once per run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.tasks.task import Example


@dataclass(frozen=True)
class Answered:
    """A prompt followed by one of its choices; the answer begins at token ``start``."""

    tokens: tuple[int, ...]
    start: int


def tokenise(
    tokenizer: Any, prompts: Sequence[str], answers: Sequence[str], max_tokens: int
) -> list[Answered]:
    """Tokenise every prompt with its answer; too long prompts lose their beginning.

    The answer starts where the tokenised prompt ends: no template is searched for.

    Raises:
        FedbenchError: an answer alone is longer than ``max_tokens``.
    """
    whole = tokenizer([p + a for p, a in zip(prompts, answers, strict=True)])["input_ids"]
    lengths = {p: len(ids) for p, ids in _tokenised(tokenizer, sorted(set(prompts))).items()}
    return [
        _truncated(ids, lengths[prompt], max_tokens)
        for ids, prompt in zip(whole, prompts, strict=True)
    ]


def training_sequences(
    tokenizer: Any, examples: Sequence[Example], max_tokens: int
) -> list[Answered]:
    """Prompt, right answer and end of sequence for every example."""
    prompts = [example.prompt for example in examples]
    answers = [example.choices[example.gold] for example in examples]
    end = tokenizer.eos_token_id
    room = max_tokens - 1
    return [
        Answered((*answered.tokens, end), answered.start)
        for answered in tokenise(tokenizer, prompts, answers, room)
    ]


def _tokenised(tokenizer: Any, texts: Sequence[str]) -> dict[str, list[int]]:
    return dict(zip(texts, tokenizer(list(texts))["input_ids"], strict=True)) if texts else {}


def _truncated(ids: Sequence[int], prompt_length: int, max_tokens: int) -> Answered:
    surplus = max(0, len(ids) - max_tokens)
    if surplus >= prompt_length:
        raise FedbenchError(
            f"An answer has {len(ids) - prompt_length} tokens, which leaves no room for its prompt "
            f"within max_tokens = {max_tokens}: raise max_tokens."
        )
    return Answered(tuple(ids[surplus:]), prompt_length - surplus)
