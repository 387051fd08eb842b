"""What people at both ends are told while a federation is under way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedbench.config import RunConfig
from fedbench.engines import Failure
from fedbench.errors import shown

Say = Callable[[str], None]


@dataclass
class Pace:
    """How long rounds take, as far as they were seen from here."""

    rounds: int
    began: float = field(default_factory=time.monotonic)
    first: int | None = None

    def left(self, round_: int) -> str:
        """What is left after a round, as people say it."""
        if self.first is None:
            self.first = round_
        done = max(round_ + 1 - self.first, 1)
        seconds = (time.monotonic() - self.began) / done * (self.rounds - round_ - 1)
        return f"about {in_words(seconds)} left" if seconds else "the last one"


def in_words(seconds: float) -> str:
    """A duration as people say it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def megabytes(count: float) -> str:
    """A number of bytes as people say it."""
    return f"{count / 1e6:.3g} MB"


@dataclass
class AtSite:
    """What a site has done so far, told after each turn."""

    say: Say
    spent: Callable[[], float | None]  #: epsilon of the data's life
    limit: float | None  #: of it
    sent: int = 0
    pace: Pace | None = None

    def answered(
        self,
        config: RunConfig,
        header: Mapping[str, Any],
        found: bytes | Failure,
        seconds: float,
    ) -> None:
        """Count an answer; tell people of training."""
        if isinstance(found, Failure):
            self.say(f"A message to {shown(header.get('kind'))} was refused. {found.reason}")
            return
        self.sent += len(found)
        if header.get("kind") != "train":
            return
        round_ = int(header["round"])
        self.say(
            f"Round {round_ + 1} of {config.rounds}: trained in {in_words(seconds)}, "
            f"{megabytes(self.sent)} sent since it began{self._epsilon()}"
            f"{self._left(config, round_)}."
        )

    def _left(self, config: RunConfig, round_: int) -> str:
        """What is left, which a site can tell once it has seen a whole round."""
        if self.pace is None:
            self.pace = Pace(config.rounds, first=round_ + 1)
            return ""
        return f"; {self.pace.left(round_)}"

    def _epsilon(self) -> str:
        if (spent := self.spent()) is None:
            return ""
        of = "" if self.limit is None else f" of {self.limit:g}"
        return f", epsilon {spent:.3g}{of} spent"


@dataclass
class AtServer:
    """What a federation has done so far, told after each round."""

    say: Say
    config: RunConfig
    sites: Sequence[str]
    traffic: Callable[[], tuple[int, int]]  #: bytes as Flower counts them, sent and received
    moved: int = 0
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        self.pace = Pace(self.config.rounds)

    def round(self, record: Mapping[str, Any]) -> None:
        """Tell people of a round that is done."""
        names = ("bytes_up", "bytes_down", "bytes_validation", "bytes_keys", "bytes_unmask")
        self.moved += sum(record.get(name) or 0 for name in names)
        round_, accuracy = int(record["round"]), record.get("validation_accuracy")
        parts = [f"{len(record['cohort'])} of {len(self.sites)} sites"]
        if "abandoned" in record:
            parts.append(f"abandoned ({record['abandoned'].rstrip('.')})")
        if accuracy is not None:
            parts.append(f"validation accuracy {accuracy:.3f} of {record['n_validation']} items")
        flower = sum(self.traffic())
        parts.append(
            f"{megabytes(self.moved)} of payloads since it began, {megabytes(flower)} by Flower"
        )
        if spent := record.get("epsilon"):
            parts.append(f"epsilon at most {max(spent.values()):.3g}")
        told = ", ".join(parts)
        self.say(f"Round {round_ + 1} of {self.config.rounds}: {told}; {self.pace.left(round_)}.")
        for site, why in {**record.get("refused", {}), **record.get("unheard", {})}.items():
            self.say(f"  {site}: {why}")
