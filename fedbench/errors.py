"""The one exception that a user of fedbench is meant to see, and how it shows what was given."""

from __future__ import annotations

import reprlib
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 80
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist, _SHORT.maxtuple = 3, 6, 6, 6


def shown(value: Any) -> str:
    """What somebody gave as a sentence can hold it, however long, deep or large it is."""
    told = _SHORT.repr(value)
    return told if len(told) <= 200 else f"{told[:200]}..."


class FedbenchError(Exception):
    """Something the user can mend; its text is one sentence naming the thing and the remedy."""
