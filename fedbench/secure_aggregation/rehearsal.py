"""A whole attempt in one process, every message written to bytes and read again on the other side.

For tests and measurements: nothing passes between a site and the server but payloads, and a site's
state is written and read again between exchanges, as if it had been killed. What the server
received is kept, so that it can be asked what can be learned from it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedbench.secure_aggregation.fixed_point import FixedPoint
from fedbench.secure_aggregation.masks import Words
from fedbench.secure_aggregation.messages import Blocks, Reveal, Terms
from fedbench.secure_aggregation.server import collect, deliveries, roster, unmasked
from fedbench.secure_aggregation.site import Private, advertise, mask, share, unmask
from fedbench.wire.frame import framed, opened

Header = Mapping[str, Any]
Answer = tuple[Private, bytes]


@dataclass(frozen=True)
class Received:
    """One payload that the server received."""

    exchange: str
    site: str
    payload: bytes = field(repr=False)


def aggregate(
    vectors: Mapping[str, Words],
    terms: Terms,
    scheme: FixedPoint,
    drop_before: Collection[str] = (),
    drop_after: Collection[str] = (),
) -> tuple[Words, tuple[Received, ...]]:
    """The sum over all sites but those that dropped out before, and all that the server received.

    Args:
        vectors: of every site in the terms, as words of the scheme, all of one length.
        drop_before: who shares its secrets and sends no vector.
        drop_after: who sends its vector and does not reveal shares; it is in the sum.

    Raises:
        TooFewSites: fewer are left than the threshold.
    """
    kept: dict[str, bytes] = {}
    received: list[Received] = []

    def ask(exchange: str, told: Mapping[str, bytes]) -> Iterator[tuple[str, Header, memoryview]]:
        for site, payload in told.items():
            header, body = opened(payload)
            private, reply = _AT_SITE[exchange](kept.get(site, b""), site, header, body, vectors)
            kept[site] = private.to_bytes()
            received.append(Received(exchange, site, reply))
            yield site, *opened(reply)

    to_all = dict.fromkeys(terms.sites, framed(terms.header(), b""))
    keys = roster(terms, {site: bytes(body) for site, _, body in ask("advertise", to_all)})
    to_all = dict.fromkeys(keys.sites, _payload(keys))
    shared = {site: Blocks.read(header, body) for site, header, body in ask("share", to_all)}
    sealed = deliveries(terms, keys, shared)
    told = {site: _payload(each) for site, each in sealed.items() if site not in drop_before}
    arriving = ((site, body) for site, _, body in ask("mask", told))
    length = len(next(iter(vectors.values())))
    collected = collect(terms, shared, arriving, length, scheme)
    asked = framed(collected.reveal.header(), b"")
    told = {site: asked for site in collected.reveal.arrived if site not in drop_after}
    revealed = {site: bytes(body) for site, _, body in ask("unmask", told)}
    return unmasked(terms, keys, collected, revealed), tuple(received)


def _payload(blocks: Blocks) -> bytes:
    return framed(blocks.header(), blocks.body)


def _advertise(kept: bytes, site: str, header: Header, body: memoryview, _: object) -> Answer:
    private, keys = advertise(Terms.read(header), site)
    return private, framed({}, keys)


def _share(kept: bytes, site: str, header: Header, body: memoryview, _: object) -> Answer:
    private, blocks = share(Private.from_bytes(kept), Blocks.read(header, body))
    return private, _payload(blocks)


def _mask(
    kept: bytes, site: str, header: Header, body: memoryview, vectors: Mapping[str, Words]
) -> Answer:
    delivery = Blocks.read(header, body)
    private, words = mask(Private.from_bytes(kept), delivery, vectors[site])
    return private, framed({}, words.tobytes())


def _unmask(kept: bytes, site: str, header: Header, body: memoryview, _: object) -> Answer:
    private, shares = unmask(Private.from_bytes(kept), Reveal.read(header))
    return private, framed({}, shares)


#: by exchange: what a site does with what it kept and the message; vectors are the sites' own
_AT_SITE: Mapping[str, Callable[[bytes, str, Header, memoryview, Mapping[str, Words]], Answer]] = {
    "advertise": _advertise,
    "share": _share,
    "mask": _mask,
    "unmask": _unmask,
}
