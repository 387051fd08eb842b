"""Sites in this very process, one after the other: the engine of simulations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fedbench.engines import Failure
from fedbench.engines.answering import answer
from fedbench.site import SiteContext


@dataclass(frozen=True)
class InProcess:
    """Calls :func:`fedbench.site.handle` with real payloads and nothing but payloads."""

    contexts: Mapping[str, SiteContext]

    def exchange(
        self, messages: Mapping[str, bytes], deadline: float | None = None
    ) -> Iterator[tuple[str, bytes | Failure]]:
        """Answer for every site in turn; there is nobody to wait for, so no deadline applies."""
        for site, payload in messages.items():
            yield site, answer(self.contexts[site], payload)
