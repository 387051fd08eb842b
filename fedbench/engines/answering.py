"""A site as an engine or a real server calls it: an answer, or why there is none."""

from __future__ import annotations

from dataclasses import replace

from fedbench.engines import Failure
from fedbench.faults.fault import Crashed, Mishap
from fedbench.site import SiteContext, handle
from fedbench.train import NoMemory
from fedbench.wire import BadPayload


class Struck(bytes):
    """A message like any other, and beside it what goes wrong where it arrives."""

    mishap: Mishap

    def __new__(cls, payload: bytes, mishap: Mishap) -> Struck:
        """The same bytes."""
        made = super().__new__(cls, payload)
        made.mishap = mishap
        return made

    def __reduce__(self) -> tuple[type[Struck], tuple[bytes, Mishap]]:
        return Struck, (bytes(self), self.mishap)


def answer(context: SiteContext, payload: bytes) -> bytes | Failure:
    """What a site answers, with the mishap of a message that was struck.

    A message that the site cannot use, a crash that is part of the plan and a lack of memory are
    failures of a site. Any other exception is a defect of ours and not hidden as one: it passes.
    """
    if isinstance(payload, Struck):
        if payload.mishap.gone:
            return Failure("It dropped out after it was drawn.")
        context = replace(context, mishap=payload.mishap)
    try:
        return handle(context, payload)
    except (BadPayload, Crashed, NoMemory) as error:
        return Failure(str(error))
