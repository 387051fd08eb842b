"""Sites at the other end of a grid of Flower's: the engine of federations between machines.

A payload travels as it is, as opaque bytes; a large one in pieces, so that a connection that breaks
costs no more than one of them. Whatever the grid is, in memory or over a SuperLink, sites answer
with the very same app (:func:`answering_app`).

Between machines, messages get lost: a site may be killed after it took one and before it answered.
When it is back, Flower does not send it again. It is sent once more from here, the very same bytes,
which a site answers with the bytes that it answered before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fedbench.engines import Failure
from fedbench.errors import FedbenchError

_BYTES, _SAID = "bytes", "said"  #: of a payload, and beside the first of them, who vouches for it
_PIECE = 4 << 20  #: bytes that travel in one go
#: of Flower's errors, those after which a site may still be asked again
GONE = (
    ErrorCode.NODE_UNAVAILABLE,
    ErrorCode.MESSAGE_UNAVAILABLE,
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
)
_LONGEST = 12 * 3600.0  #: seconds that Flower keeps a message
_LOOK = 0.5  #: seconds between two looks for who is there

Answer = Callable[[bytes], bytes | Failure]


class Unproven(FedbenchError):
    """Whoever sent this is not who it says."""


class Present(NamedTuple):
    """A site that is connected."""

    node: int  #: Flower's name of it
    since: str = ""  #: when it connected last


Directory = Callable[[], Mapping[str, Present]]


class _Waiting(NamedTuple):
    """A site whose answer is missing."""

    since: float  #: when it was asked, or since when it is away
    message: str = ""  #: Flower's name of what it was sent; empty while it is away
    to: Present | None = None


def content_of(payload: bytes, said: bytes = b"") -> RecordDict:
    """A payload as the content of a message.

    Flower sends each record by itself, and asks in vain, for a second or more, for one that is not
    there yet: so there are no more of them than need be.
    """
    starts = range(0, max(len(payload), 1), _PIECE)
    pieces = {f"{at:015d}": ConfigRecord({_BYTES: payload[at : at + _PIECE]}) for at in starts}
    pieces[f"{0:015d}"][_SAID] = said
    return RecordDict(pieces)


def payload_of(content: RecordDict) -> tuple[bytes, bytes]:
    """The payload in a message, and what was said beside it.

    Raises:
        Unproven: it is no message of ours.
    """
    try:
        pieces = [content.config_records[name] for name in sorted(content)]
        return b"".join(piece[_BYTES] for piece in pieces), bytes(pieces[0][_SAID])
    except (KeyError, TypeError, IndexError):
        raise Unproven("It sent a message that carries no payload.") from None


def answering_app(
    answer: Answer, vouch: Callable[[bytes], bytes] = lambda payload: b""
) -> ClientApp:
    """The app of a site: it answers every payload with a payload, or says in a sentence why not.

    Args:
        answer: what the site does.
        vouch: what is said beside an answer, such as a signature of it.
    """
    app = ClientApp()

    @app.query()  # type: ignore[untyped-decorator]
    def query(message: Message, context: Any) -> Message:
        try:
            payload, _ = payload_of(message.content)
            found = answer(payload)
        except Unproven as unproven:
            found = Failure(str(unproven))
        if isinstance(found, Failure):
            error = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, found.reason)
            return Message(error, reply_to=message)
        return Message(content_of(found, vouch(found)), reply_to=message)

    return app


@dataclass(frozen=True)
class OverFlower:
    """Pushes payloads to the nodes of sites and takes their replies as they come.

    Which sites are there is looked up again while replies are missing: one that was away and is
    back is sent its message once more. Who is away is waited for as long as ``patience`` says.
    """

    grid: Grid
    directory: Directory  #: sites that are connected just now
    patience: float = 0.0  #: seconds that a site may be away before it has failed
    #: raises Unproven where an answer is not by the site that it comes from
    check: Callable[[str, bytes, bytes], None] = lambda site, payload, said: None
    #: seconds between two looks for replies: looking more often brings no answer sooner, because
    #: SuperNodes sleep for longer than that, and takes processor time (bench/between.py)
    pause: float = 0.2

    def exchange(
        self, messages: Mapping[str, bytes], deadline: float | None = None
    ) -> Iterator[tuple[str, bytes | Failure]]:
        """Send each site its message; yield answers in the order in which they arrive."""
        began = looked = time.monotonic()
        ends, there = began + (deadline or _LONGEST), self.directory()
        waiting = {site: _Waiting(began) for site in messages}
        while waiting:
            now = time.monotonic()
            if now - looked > _LOOK:
                there, looked = self.directory(), now
            for site, one in waiting.items():
                waiting[site] = self._asked(one, site, messages, there.get(site), ends)
            found = [*self._arrived(waiting), *self._overdue(waiting, ends, deadline)]
            for site, answer in found:
                waiting.pop(site, None)
                yield site, answer
            # Whoever was given up just now is away until it is looked for again.
            there = {s: at for s, at in there.items() if s in waiting and waiting[s].message}
            if not found:
                time.sleep(self.pause)

    def _asked(
        self,
        one: _Waiting,
        site: str,
        messages: Mapping[str, bytes],
        here: Present | None,
        ends: float,
    ) -> _Waiting:
        """Who is there has been sent its message since it connected; who is not, is away."""
        now = time.monotonic()
        if here is None:
            return one if not one.message else _Waiting(now)
        if one.to == here:
            return one
        left = max(ends - now, 1.0)
        message = Message(content_of(messages[site]), here.node, "query", ttl=left)
        (name,) = self.grid.push_messages([message])
        return _Waiting(now, name, here) if name else one

    def _arrived(self, waiting: dict[str, _Waiting]) -> Iterator[tuple[str, bytes | Failure]]:
        """What came; whoever Flower has given up counts as away."""
        sites = {one.message: site for site, one in waiting.items() if one.message}
        for reply in [*self.grid.pull_messages([*sites])] if sites else []:
            site = sites[reply.metadata.reply_to_message_id]
            if not reply.has_error():
                yield site, self._checked(site, reply)
            elif reply.error.code not in GONE:
                yield site, Failure(reply.error.reason)
            else:
                waiting[site] = _Waiting(time.monotonic())

    def _checked(self, site: str, reply: Message) -> bytes | Failure:
        try:
            payload, said = payload_of(reply.content)
            self.check(site, payload, said)
        except Unproven as error:
            return Failure(str(error))
        return payload

    def _overdue(
        self, waiting: Mapping[str, _Waiting], ends: float, deadline: float | None
    ) -> Iterator[tuple[str, Failure]]:
        now = time.monotonic()
        within = f" within {deadline:g} seconds" if deadline else ""
        for site, one in waiting.items():
            if now >= ends:
                yield site, Failure(f"It did not answer{within}.")
            elif not one.message and now - one.since >= self.patience:
                for_ = f", and was waited for {self.patience:g} seconds" if self.patience else ""
                yield site, Failure(f"It is not connected{for_}.")
