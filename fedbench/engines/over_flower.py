"""Sites at the other end of a grid of Flower's: the engine of federations between machines.

A payload travels as it is, as opaque bytes; a large one in pieces, so that a connection that breaks
costs no more than one of them. Whatever the grid is, in memory or over a SuperLink, sites answer
with the very same app (:func:`answering_app`).

Between machines, messages get lost: a site may be killed after it took one and before it answered.
When it is back, Flower does not send it again. It is sent once more from here, the very same bytes,
which a site answers with the bytes that it answered before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fedbench.engines import Failure
from fedbench.errors import FedbenchError, heard

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
_MOST = 10  #: times that a site is sent a message; one that is gone each time has failed
_REASON = 500  #: characters of what a site says of its failure

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

    away: float | None  #: since when it is away; None while it is there
    to: Present | None = None  #: what it was when it was sent its message last
    #: Flower's names of that message, each time that it was sent and may still be answered
    messages: tuple[str, ...] = ()
    times: int = 0  #: that it was sent


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
        payload, said = b"".join(piece[_BYTES] for piece in pieces), pieces[0][_SAID]
    except (KeyError, TypeError, IndexError):
        said = None
    if not isinstance(said, bytes):
        raise Unproven("It sent a message that carries no payload.")
    return payload, said


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
    longest: float = math.inf  #: seconds of an exchange that has no deadline of its own
    #: since when sites are away, from one exchange to the next
    away: dict[str, float] = field(default_factory=dict)

    def exchange(
        self, messages: Mapping[str, bytes], deadline: float | None = None
    ) -> Iterator[tuple[str, bytes | Failure]]:
        """Send each site its message; yield answers in the order in which they arrive.

        Answers are taken from Flower one at a time, each when the one before was dealt with: there
        is never more than one of them in memory, and none is lost with another.
        """
        began = time.monotonic()
        limit = deadline or self.longest
        ends = began + limit
        waiting = {site: _Waiting(self.away.get(site, began)) for site in messages}
        looked, there = -math.inf, dict[str, Present]()
        while waiting:
            now = time.monotonic()
            if now - looked > _LOOK:
                there, looked = {**self.directory()}, now
            heard = False
            for site in [*waiting]:
                waiting[site] = one = self._asked(waiting[site], site, messages, there, ends)
                waiting[site], answer = self._heard(one, site)
                if answer is None:
                    answer = self._overdue(waiting[site], ends, limit)
                if (since := waiting[site].away) is None:
                    self.away.pop(site, None)
                else:
                    self.away.setdefault(site, since)
                    there.pop(site, None)  # it is away until it is looked for again
                if answer is not None:
                    heard = True
                    del waiting[site]
                    yield site, answer
            if not heard:
                time.sleep(self.pause)

    def _asked(
        self,
        one: _Waiting,
        site: str,
        messages: Mapping[str, bytes],
        there: Mapping[str, Present],
        ends: float,
    ) -> _Waiting:
        """Who is there has been sent its message since it connected; who is not, is away."""
        now, here = time.monotonic(), there.get(site)
        away = one._replace(away=now if one.away is None else one.away)
        if here is None:
            return away
        if one.to == here:  # and it was never known to be gone
            return one._replace(away=None)
        if one.times == _MOST:
            return away
        ttl = min(max(ends - now, 1.0), _LONGEST)
        message = Message(content_of(messages[site]), here.node, "query", ttl=ttl)
        names = [name for name in self.grid.push_messages([message]) if name]
        if not names:  # Flower knows of no such node any more
            return away
        return _Waiting(None, here, (*one.messages, *names), one.times + 1)

    def _heard(self, one: _Waiting, site: str) -> tuple[_Waiting, bytes | Failure | None]:
        """What came of a site; what Flower has given up will not be answered any more.

        An answer to what was sent earlier counts as well: it was the very same message.
        """
        for name in one.messages:
            for reply in self.grid.pull_messages([name]):
                if not reply.has_error():
                    return one, self._checked(site, reply)
                if reply.error.code not in GONE:
                    return one, Failure(_sentence(reply.error.reason))
                left = tuple(other for other in one.messages if other != name)
                one = one._replace(messages=left)
        if one.messages:
            return one, None
        return one._replace(to=None, away=one.away or time.monotonic()), None

    def _checked(self, site: str, reply: Message) -> bytes | Failure:
        try:
            payload, said = payload_of(reply.content)
            self.check(site, payload, said)
        except Unproven as error:
            return Failure(str(error))
        return payload

    def _overdue(self, one: _Waiting, ends: float, limit: float) -> Failure | None:
        now = time.monotonic()
        if now >= ends:
            return Failure(f"It did not answer within {limit:g} seconds.")
        if one.away is None:
            return None
        if one.times == _MOST:
            return Failure(f"It was sent its message {_MOST} times, and was gone each time.")
        if now - one.away >= self.patience:
            for_ = f", and was waited for {self.patience:g} seconds" if self.patience else ""
            return Failure(f"It is not connected{for_}.")
        return None


def _sentence(reason: str | None) -> str:
    """What a site says of its failure, on one line and no longer than a sentence is."""
    return heard(reason or "", _REASON) or "It failed, and did not say why."
