"""The exceptions that a user of fedbench is meant to see, and how all others are told."""

from __future__ import annotations

import traceback

from fedbench.redaction import without_secrets


class FedbenchError(Exception):
    """Something the user can mend; its text is one sentence naming the thing and the remedy.

    Tokens and passwords are left out of the text, whoever wrote it.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(without_secrets(text))


class Damaged(FedbenchError):
    """A stored file is not what was written."""


class Replaceable(Damaged):
    """And it can be computed again: whoever needs it does so, after a warning."""


def traced(error: BaseException) -> str:
    """Where an error came from, and what caused it: files, lines and types.

    Messages are left out, because what a library says of a value may quote a private example.
    """
    told: list[str] = []
    next_: BaseException | None = error
    while next_ is not None:
        said = f": {next_}" if isinstance(next_, FedbenchError) else ""
        frames = "".join(traceback.format_tb(next_.__traceback__))
        told.append(f"Traceback (most recent call last):\n{frames}{type(next_).__name__}{said}\n")
        next_ = next_.__cause__ or (None if next_.__suppress_context__ else next_.__context__)
    return "\nThe cause was this:\n\n".join(told)
