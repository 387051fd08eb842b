"""The replies of a round: held against what was asked, and read one at a time from the disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedbench.engines import Failure
from fedbench.errors import FedbenchError
from fedbench.files import write_bytes
from fedbench.rules.rule import Contribution
from fedbench.wire import BadPayload, decode, header_of

Answers = Iterator[tuple[str, bytes | Failure]]


@dataclass(frozen=True)
class Reply:
    """One site's answer: what its header says, how long it was, and where it is kept."""

    header: Mapping[str, Any]
    n_bytes: int
    path: Path | None = None  #: of an answer that carries tensors


def spool(answers: Answers, folder: Path, round_: int) -> dict[str, Reply]:
    """Write updates to disk as they come; return them in the order of sites.

    Raises:
        FedbenchError: a site failed, or answered something else; the last checkpoint stays.
    """
    spooled = {}
    for site, payload in _delivered(answers):
        header = _expected(site, payload, kind="update", round=round_)
        path = folder / f"{site}.reply"
        write_bytes(path, payload)
        spooled[site] = Reply(header, len(payload), path)
    return dict(sorted(spooled.items()))


def scores(answers: Answers) -> dict[str, Reply]:
    """Replies to a call for validation, in the order of sites.

    Raises:
        FedbenchError: a site failed, or answered something else.
    """
    found = {
        site: Reply(_expected(site, payload, kind="score"), len(payload))
        for site, payload in _delivered(answers)
    }
    return dict(sorted(found.items()))


def contributions(replies: Mapping[str, Reply]) -> Iterator[Contribution]:
    """Contributions in the order of ``replies``, one in memory at a time.

    What was read is removed from the disk, where replies of all sites ever heard would pile up.
    """
    for reply in replies.values():
        assert reply.path is not None
        header, tensors = decode(reply.path.read_bytes())
        reply.path.unlink()
        yield Contribution(tensors, header["weight"])


def _delivered(answers: Answers) -> Iterator[tuple[str, bytes]]:
    for site, payload in answers:
        if isinstance(payload, Failure):
            raise _failed(site, payload.reason)
        yield site, payload


def _expected(site: str, payload: bytes, **asked: object) -> Mapping[str, Any]:
    """The header, if it answers what was asked of this very site."""
    try:
        header = header_of(payload)
    except BadPayload as error:
        raise _failed(site, str(error)) from None
    for name, value in {"site": site, **asked}.items():
        if header.get(name) != value:
            raise _failed(site, f"Its reply has {name} {header.get(name)!r}, not {value!r}.")
    return header


def _failed(site: str, reason: str) -> FedbenchError:
    return FedbenchError(f"{site} did not answer: {reason} Start again to go on.")
