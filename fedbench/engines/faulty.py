"""Faults around any engine: what befalls answers of sites that train, as the configuration plans.

Exchanges other than training pass as they are. Time is simulated: a deadline is held against the
seconds that the plan gives an answer, never against a clock, so that a result stays a function of
its configuration. An answer that is too late is a failure, and arrives in the next exchange: there
it is a replay, unless the site was asked for the very same once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from fedbench.config import RunConfig
from fedbench.engines import Engine, Failure
from fedbench.engines.answering import Struck
from fedbench.faults import NONE
from fedbench.faults.fault import SAFE, UNHARMED, Strike
from fedbench.faults.plan import strike
from fedbench.wire import opened, seal


def faulty(engine: Engine, config: RunConfig) -> Engine:
    """The engine with the faults of a configuration; without any, the engine itself."""
    return engine if config.faults == NONE else Faulty(engine, config)


@dataclass(frozen=True)
class Faulty:
    """An engine whose sites fail as planned.

    What it remembers is of the present round: a federation that was stopped begins its round again,
    with another engine, and all is as the first time.
    """

    engine: Engine
    config: RunConfig
    _asked: dict[str, tuple[str, int]] = field(
        default_factory=dict
    )  #: seal, and how often, by site
    _underway: list[tuple[str, bytes]] = field(default_factory=list)  #: too late for their exchange

    def exchange(
        self, messages: Mapping[str, bytes], deadline: float | None = None
    ) -> Iterator[tuple[str, bytes | Failure]]:
        """Send each site its message; yield what arrives, what is overdue first."""
        overdue = [*self._underway]
        self._underway.clear()
        yield from overdue
        sent, slow = _Sent(messages, self._strike), []
        for site, answer in self.engine.exchange(sent, None):
            struck = sent.struck.get(site, UNHARMED)
            if struck.lost:
                yield site, Failure(_unheard(deadline))
            elif isinstance(answer, Failure):
                yield site, answer
            elif deadline is not None and struck.seconds > deadline:
                self._underway.extend([(site, struck.arrives(answer))] * struck.copies)
                yield site, Failure(_unheard(deadline))
            else:
                arriving = [(site, struck.arrives(answer))] * struck.copies
                slow += arriving if struck.seconds else []
                yield from () if struck.seconds else arriving
        yield from slow

    def _strike(self, site: str, message: bytes) -> Strike:
        """What befalls the answer of a site to a message, by how often it was asked that before."""
        header, name = opened(message)[0], seal(message)
        if header["kind"] != "train":
            return UNHARMED
        before, times = self._asked.get(site, ("", 0))
        attempt = times if before == name else 0
        self._asked[site] = name, attempt + 1
        return strike(self.config, header["round"], site, attempt)


class _Sent(Mapping[str, bytes]):
    """Messages of one exchange as they arrive at sites, each made and struck when it is taken."""

    def __init__(
        self, messages: Mapping[str, bytes], strike: Callable[[str, bytes], Strike]
    ) -> None:
        self.struck: dict[str, Strike] = {}
        self._messages, self._strike = messages, strike

    def __getitem__(self, site: str) -> bytes:
        message = self._messages[site]
        if site not in self.struck:
            self.struck[site] = self._strike(site, message)
        mishap = self.struck[site].mishap
        return message if mishap == SAFE else Struck(message, mishap)

    def __iter__(self) -> Iterator[str]:
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)


def _unheard(deadline: float | None) -> str:
    within = "" if deadline is None else f" within {deadline:g} seconds"
    return f"It did not answer{within}."
