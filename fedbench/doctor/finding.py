"""What a check of the machine found."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["ok", "note", "FAIL"]
OK: State = "ok"
NOTE: State = "note"  #: works, but less well, or only in part
FAIL: State = "FAIL"


class Finding(NamedTuple):
    """One line of the doctor."""

    what: str
    state: State
    told: str  #: what was found; where it is not as it should be, with what to do
