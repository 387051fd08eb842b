"""How payloads travel between the server and the sites."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Failure:
    """A site did not answer as asked; ``reason`` is one sentence."""

    reason: str


class Engine(Protocol):
    """Carries payloads; knows nothing of what is in them."""

    def exchange(
        self, messages: Mapping[str, bytes], deadline: float | None
    ) -> Iterator[tuple[str, bytes | Failure]]:
        """Send each site its message and yield replies as they come.

        Args:
            messages: payload by site.
            deadline: seconds after which a missing reply is a failure; None waits for ever.
        """
        ...
