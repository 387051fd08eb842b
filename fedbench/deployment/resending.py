"""A site answers a message once: asked for the same again it sends the same bytes, and no replay.

Where noise is real, to do a turn again is another release about the same examples. A reply is
therefore kept before it leaves, and is what the very same message is answered with from then on. A
process that is killed before that has sent nothing: the next one does the turn anew, and whatever
it costs is debited once more.

What a server asks of a site grows: round after round, and after all of them the personal adapter.
A server that was stopped begins a round again whose checkpoint it had not written, never an earlier
one. So replies of the latest round are kept, and a message of an earlier one is refused. Within a
round messages come in any order, and several of a kind: under masks every attempt has its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fedbench.durable import remove, sweep
from fedbench.errors import Damaged
from fedbench.files import on_disk, write_bytes
from fedbench.hashing import sha256_bytes
from fedbench.locks import locked
from fedbench.wire import BadPayload, framed, opened

#: different messages of one round that a site answers: many attempts, and an end to what it keeps
MOST = 128
RUN = re.compile(r"[0-9a-f]{16}")  #: the id of a run, and the name of its folder
_KEPT = re.compile(r"(\d{9})-[0-9a-f]{64}\.reply")
_LOCK = "answering.lock"


def answered_once(folder: Path, payload: bytes, answer: Callable[[bytes], bytes]) -> bytes:
    """The reply to a message: what ``answer`` makes of it, or what that has made of it before.

    One message at a time is answered in a folder, whoever asks; others wait.

    Args:
        folder: of one site; replies are kept in it by run.
        payload: the message, which names its run and round.
        answer: is called at most once for a message whose reply was kept. What it raises passes,
            and leaves no trace here. It is for ``answer`` to refuse runs that the site is not in.

    Raises:
        BadPayload: these bytes are no payload, do not say what they are of, are of a round before
            the latest that was answered, or are one message too many of a round.
        Damaged: the reply that was kept is not what was sent. Nothing is done anew for that.
        FedbenchError: the disk refused to keep the reply, which therefore is not sent.
    """
    run, round_ = _place(opened(payload)[0])
    name, replies = sha256_bytes(payload), folder / run
    path = replies / f"{round_:09d}-{name}.reply"
    with locked(folder / _LOCK):
        with on_disk(replies):
            sweep(replies.glob(".*"))
            if path.exists():
                return _resent(path, name, round_)
            _check([of for _, of in _kept(replies)], round_)
        reply = answer(payload)
        write_bytes(path, framed({"answers": name}, reply), secret=True)
        with on_disk(replies):
            for old, of in _kept(replies):
                if of < round_:
                    remove(old)
        return reply


class _Place(NamedTuple):
    """Where a message belongs."""

    run: str
    round: int  #: after the last one, that of personal adapters


def _place(header: Mapping[str, Any]) -> _Place:
    """What a message is of.

    Raises:
        BadPayload: it does not say, or not as a server does.
    """
    run, round_ = header.get("run"), header.get("round")
    if not isinstance(run, str) or not RUN.fullmatch(run):
        raise BadPayload("A payload does not name the run that it is of.")
    if type(round_) is not int or not 0 <= round_ < 10**9 - 1:
        raise BadPayload("A payload does not name the round that it is of.")
    # Personal adapters are made after the last round, and scored under its number.
    return _Place(run, round_ + (header.get("personal") is True))


def _kept(replies: Path) -> Iterator[tuple[Path, int]]:
    """Replies that are kept, and the round of each."""
    for path in [*replies.glob("*.reply")]:
        if found := _KEPT.fullmatch(path.name):
            yield path, int(found[1])


def _check(answered: list[int], round_: int) -> None:
    """Make sure that a new message of a round may be answered, after those ``answered``.

    Raises:
        BadPayload: it may not.
    """
    latest = max(answered, default=0)
    if round_ < latest:
        raise BadPayload(
            f"A message of round {round_} came after one of round {latest} was answered: it is a "
            "replay, or its server has lost rounds and must begin a new run."
        )
    if answered.count(round_) >= MOST:
        raise BadPayload(
            f"{MOST} different messages of round {round_} were answered, and no more are: a server "
            "that is stopped so often must begin a new run."
        )


def _resent(path: Path, name: str, round_: int) -> bytes:
    """The reply that was kept.

    Raises:
        Damaged: it is not what was written.
    """
    try:
        header, reply = opened(path.read_bytes())
        if header.get("answers") == name:
            return bytes(reply)
    except BadPayload:
        pass
    raise Damaged(
        f"{path}, which this site has answered in round {round_}, is damaged: restore it from a "
        "backup, or remove it; then the message is answered anew, which is another release where "
        "examples are private, and costs as much."
    )
