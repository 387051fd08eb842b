"""The exceptions that a user of fedbench is meant to see, and how all others are told."""

from __future__ import annotations

import errno
import re
import reprlib
import traceback
from collections.abc import Mapping
from typing import Any

from fedbench.redaction import without_secrets

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 80
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist, _SHORT.maxtuple = 3, 6, 6, 6


def shown(value: Any) -> str:
    """What somebody gave as a sentence can hold it, however long, deep or large it is."""
    told = _SHORT.repr(value)
    return told if len(told) <= 200 else f"{told[:200]}..."


def heard(text: str, longest: int = 500) -> str:
    """What another machine said, as a terminal and a record can hold it.

    It stands on one line, characters that move a cursor or hide others are question marks, and what
    is longer than ``longest`` characters is cut off there.
    """
    line = " ".join(text.split())
    told = "".join(one if one.isprintable() else "?" for one in line)
    return told if len(told) <= longest else f"{told[:longest]}..."


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


class Refused(FedbenchError):
    """The disk or the memory of this machine refused something."""


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


def of_memory(error: BaseException) -> bool:
    """Whether an allocator failed; that of torch on processors has no exception of its own."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or bool(_NO_MEMORY.search(str(error)))


def of_system(error: BaseException, path: object = None) -> Refused | None:
    """What a disk or the memory refused, as a sentence; None if it was something else.

    A file that is missing is something else: nobody refused it, and we should have known.

    Args:
        error: that was raised.
        path: what was worked on, where the error does not say.
    """
    if of_memory(error):
        return Refused(
            "There was not enough memory: close other programs, or ask for a smaller batch_size or "
            "fewer cores, then start again; what was finished stays (python -m fedbench plan tells "
            "what a profile needs)."
        )
    if isinstance(error, OSError) and error.errno in _OF_DISKS:
        return refused(error.filename or path or "A file", error, "used")
    return None


#: how torch, whose own errors are many, says that it got no memory
_NO_MEMORY = re.compile(
    r"can't allocate memory|out of memory|Cannot allocate memory", re.IGNORECASE
)


def refused(path: object, error: Exception, verb: str = "written") -> Refused:
    """What a disk refused, as a sentence: ``path`` could not be written, or what ``verb`` says."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    remedy = _REMEDIES.get(
        getattr(error, "errno", None), "free the disk or make the folder writable"
    )
    return Refused(
        f"{path} could not be {verb} ({reason}): {remedy}, then start again; what was finished "
        "stays."
    )


#: what a disk, or the system on its behalf, answers
_OF_DISKS = frozenset(
    getattr(errno, name)
    for name in "ENOSPC EDQUOT EROFS EACCES EPERM EIO EMFILE ENFILE EFBIG ENOMEM ENOLCK".split()
    if hasattr(errno, name)
)

_REMEDIES: Mapping[int | None, str] = {
    errno.EIO: "look after the disk, which may be failing",
    errno.EMFILE: "close other programs",
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EISDIR), "check the path"),
}
