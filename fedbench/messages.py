"""The messages of one exchange, each serialised when an engine takes it and kept by nobody.

A message is as large as the adapter. Ten thousand of them would not fit a machine, and most rules
tell every site the same: then the tensors are written once, and each payload is a header, a
checksum and a copy of those bytes.

With ``codec_down: delta+...`` a site that holds what the server told before is told the change, and
one that holds it already is told nothing. Others are told the whole, in fp32: what the others hold,
to the bit. What was lost in a change is a part of the next one, so that errors do not add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fedbench.config import RunConfig
from fedbench.receiving import Header
from fedbench.rules.rule import Message, State
from fedbench.site import message_tensors
from fedbench.streams import generator
from fedbench.wire import framed, packed, schema_of, seal, told_by
from fedbench.wire.codecs import Codec, codec_of
from fedbench.wire.schema import Schema, digest

_WHOLE = codec_of("fp32")


@dataclass(frozen=True)
class Held:
    """What sites hold that heard the last broadcast, if they are told changes."""

    version: int = -1  #: rounds that were done when it was told
    tensors: State | None = None


NOTHING = Held()


class Messages(Mapping[str, bytes]):
    """Payload by site, in the order of ``headers``."""

    def __init__(
        self,
        headers: Mapping[str, Header],
        broadcast: Callable[[str], Message],
        config: RunConfig,
        version: int = 0,
        before: Held = NOTHING,
    ) -> None:
        """Promise the messages.

        Args:
            headers: what each site must know beside the tensors; ``holds`` says which version it
                has, and ``knows`` which schemas it was told, and is not told itself.
            broadcast: what the rule tells a site.
            config: seed and codec_down are read here; every message names its run, so that what
                answers another run's is told apart even where both ask for the same.
            version: rounds that are done.
            before: what sites hold that heard the broadcast before this one.
        """
        self._headers, self._broadcast = headers, broadcast
        self._codec, self._seed, self._run = codec_of(config.codec_down), config.seed, config.id
        self._version, self._before = version, before
        self._now: Held | None = before if before.version == version else None
        self._change: tuple[Schema, bytes] | None = None
        self._written: tuple[Mapping[str, Tensor], Schema, bytes] | None = None
        self._lengths: dict[tuple[str, int], int] = {}
        self._seals: dict[str, str] = {}
        self._schemas: set[str] = set()

    @property
    def n_bytes(self) -> int:
        """Bytes of all messages that were taken, each counted once, and once more for each time
        that it was sent again, on its buffer.
        """
        return sum(self._lengths.values())

    @property
    def schemas(self) -> list[str]:
        """Digests of what messages that were taken hold."""
        return sorted(self._schemas)

    @property
    def held(self) -> Held:
        """What sites hold that were told; nothing that is kept, unless they are told changes."""
        return self._now or self._before

    def seal(self, site: str) -> str:
        """By what the reply of a site refers to its message; empty if it was not taken."""
        return self._seals.get(site, "")

    def __getitem__(self, site: str) -> bytes:
        return self.taken(site)

    def taken(self, site: str, again: int = 0) -> bytes:
        """The message of a site, which is the very same however often it is sent ``again``."""
        asked = self._headers[site]
        header = {name: value for name, value in asked.items() if name != "knows"}
        form, codec, schema, body = self._content(site, asked["holds"])
        told = told_by(schema, codec, asked["knows"])
        header |= {"run": self._run, "form": form, "version": self._version}
        payload = framed(header | told, body)
        self._lengths[site, again], self._seals[site] = len(payload), seal(payload)
        self._schemas |= {digest(schema)} - {""}
        return payload

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)

    def _content(self, site: str, holds: int) -> tuple[str, Codec, Schema, bytes]:
        """What a site is told: in which form, written how, of which schema, and the bytes."""
        if not self._codec.delta:
            tensors = message_tensors(self._broadcast(site))
            return "whole", self._codec, *self._written_by(self._codec, tensors)
        now = self._advance(site)
        if holds == self._version:
            return "same", _WHOLE, (), b""
        if self._change is not None and holds == self._before.version:
            return "change", self._codec, *self._change
        assert now.tensors is not None
        return "whole", _WHOLE, *self._written_by(_WHOLE, now.tensors)

    def _advance(self, site: str) -> Held:
        """What sites hold after this broadcast; the change to it is written the first time."""
        if self._now is None:
            wanted, had = message_tensors(self._broadcast(site)), self._before.tensors
            if had is None or schema_of(had) != schema_of(wanted):
                self._now = Held(self._version, wanted)
            else:
                schema = schema_of(wanted)
                change = {name: wanted[name] - had[name] for name in wanted}
                parts = self._codec.encode(change, self._random())
                self._change = schema, packed(parts, self._codec, schema)
                got = self._codec.decode(parts, schema)
                self._now = Held(self._version, {name: had[name] + got[name] for name in had})
        return self._now

    def _written_by(self, codec: Codec, tensors: Mapping[str, Tensor]) -> tuple[Schema, bytes]:
        """The tensors as bytes, written anew unless the last site was told the very same."""
        if self._written is None or not _same(self._written[0], tensors):
            schema = schema_of(tensors)
            body = packed(codec.encode(tensors, self._random()), codec, schema)
            self._written = tensors, schema, body
        return self._written[1:]

    def _random(self) -> np.random.Generator:
        return generator("rounding", self._seed, self._version, "broadcast")


class Again(Mapping[str, bytes]):
    """Messages that are sent to some of their sites once more."""

    def __init__(self, messages: Messages, sites: Iterable[str], again: int) -> None:
        """Promise them, for the ``again``-th time after the first one."""
        self._messages, self._sites, self._again = messages, tuple(sites), again

    def __getitem__(self, site: str) -> bytes:
        return self._messages.taken(site, self._again)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Whether both hold the same objects; equal values in other objects do not count."""
    return a.keys() == b.keys() and all(a[name] is b[name] for name in a)
