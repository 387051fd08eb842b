"""How datasets write down the right answer: one function per way, and a registry of them.

What is refused is told by its place and never quoted: it may be a private text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedbench.tasks.spec import AnswerSpec

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

#: (how it is written, what is written, options as shown, written label -> class) -> right option;
#: raises ValueError with the reason, to which the caller adds the file and the row
Answer = Callable[["AnswerSpec", object, Sequence[str], Mapping[str, str]], int]


def by_label(
    spec: AnswerSpec, value: object, options: Sequence[str], labels: Mapping[str, str]
) -> int:
    """A class name, as the spec's labels write it."""
    written = str(value).strip()
    if written not in labels:
        raise ValueError(f"a label that is not known (labels: {', '.join(labels)[:300]})")
    return options.index(labels[written])


def by_letter(
    spec: AnswerSpec, value: object, options: Sequence[str], labels: Mapping[str, str]
) -> int:
    """The letter of the right option."""
    allowed = LETTERS[: len(options)]
    letter = str(value).strip().upper()
    if len(letter) != 1 or letter not in allowed:
        raise ValueError(f"not a letter of an option ({allowed[0]} to {allowed[-1]})")
    return allowed.index(letter)


def by_index(
    spec: AnswerSpec, value: object, options: Sequence[str], labels: Mapping[str, str]
) -> int:
    """The number of the right option, counted from ``first``."""
    last = spec.first + len(options) - 1
    try:
        index = int(str(value)) - spec.first
    except ValueError:
        index = -1
    if not 0 <= index < len(options):
        raise ValueError(f"not the number of an option ({spec.first} to {last})")
    return index


def by_text(
    spec: AnswerSpec, value: object, options: Sequence[str], labels: Mapping[str, str]
) -> int:
    """The text of the right option."""
    text = " ".join(str(value).split())
    if text not in options:
        raise ValueError("the answer is not among the options")
    return options.index(text)


def by_score(
    spec: AnswerSpec, value: object, options: Sequence[str], labels: Mapping[str, str]
) -> int:
    """A number: below the first threshold, above the second, or between them."""
    low, high = spec.thresholds or (0.0, 0.0)
    try:
        score = float(str(value))
    except ValueError:
        raise ValueError("not a number") from None
    if not math.isfinite(score):
        raise ValueError("not a finite number")
    below, between, above = labels.values()
    return options.index(below if score < low else above if score > high else between)


ANSWERS: Mapping[str, Answer] = {
    "label": by_label,
    "letter": by_letter,
    "index": by_index,
    "text": by_text,
    "score": by_score,
}
