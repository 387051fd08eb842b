"""The messages of one exchange, each serialised when an engine takes it and kept by nobody.

A message is as large as the adapter. Ten thousand of them would not fit a machine, and most rules
tell every site the same: then the tensors are written once, and each payload is a header, a
checksum and a copy of those bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from fedbench.rules.rule import Message
from fedbench.site import Header, message_tensors
from fedbench.wire import framed, packed


class Messages(Mapping[str, bytes]):
    """Payload by site, in the order of ``headers``."""

    def __init__(
        self, headers: Mapping[str, Header], broadcast: Callable[[str], Message], codec: str
    ) -> None:
        """Promise the messages.

        Args:
            headers: what each site must know beside the tensors.
            broadcast: what the rule tells a site.
            codec: how tensors are written.
        """
        self._headers, self._broadcast, self._codec = headers, broadcast, codec
        self._lengths: dict[str, int] = {}
        self._last: tuple[Mapping[str, Tensor], bytes] | None = None

    @property
    def n_bytes(self) -> int:
        """Bytes of all messages that were taken, each counted once, on its buffer."""
        return sum(self._lengths.values())

    def __getitem__(self, site: str) -> bytes:
        header = self._headers[site]
        payload = framed(header, self._packed(message_tensors(self._broadcast(site))), self._codec)
        self._lengths[site] = len(payload)
        return payload

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)

    def _packed(self, tensors: Mapping[str, Tensor]) -> bytes:
        """The tensors as bytes, written anew unless the last site was told the very same."""
        if self._last is None or not _same(self._last[0], tensors):
            self._last = tensors, packed(tensors, self._codec)
        return self._last[1]


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Whether both hold the same objects; equal values in other objects do not count."""
    return a.keys() == b.keys() and all(a[name] is b[name] for name in a)
