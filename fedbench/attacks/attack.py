"""The interface of an attack: what a hostile site does that an honest one does not.

All functions are pure, but that a replay keeps what it sent. A hostile site holds its share of the
examples, hears what every site hears, and may send what it likes; it reads nothing of other sites,
and the server is honest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from fedbench.rules.rule import Contribution, State
    from fedbench.tasks import Example


def as_they_are(examples: Sequence[Example], labels: Sequence[str], seed: int) -> Sequence[Example]:
    """Train on the examples that are there."""
    return examples


def as_learned(contribution: Contribution, random: np.random.Generator) -> Contribution:
    """Send what was learned."""
    return contribution


def as_encoded(parts: State) -> State:
    """Send what the codec made of it."""
    return parts


def as_written(reply: bytes, folder: Path) -> bytes:
    """Answer with the reply to this very message."""
    return reply


def as_asked(example: Example) -> Example:
    """Ask as everybody asks."""
    return example


@dataclass(frozen=True)
class Goal:
    """What answers an attack is after, so that its success can be counted."""

    wanted: Callable[[int, int], int]  #: of the right choice and the number of choices: the wrong
    #: the question as the attacker asks it, with the trigger of a backdoor
    asked: Callable[[Example], Example] = as_asked

    @property
    def triggered(self) -> bool:
        """Whether the attacker asks otherwise than everybody."""
        return self.asked is not as_asked


@dataclass(frozen=True)
class Attack:
    """What a hostile site does; by default, what an honest one does."""

    #: what it trains on: of its training examples, the labels of their task and the run's seed
    examples: Callable[[Sequence[Example], Sequence[str], int], Sequence[Example]] = as_they_are
    #: what it sends in place of what it learned, before a codec encodes it
    update: Callable[[Contribution, np.random.Generator], Contribution] = as_learned
    #: what it sends in place of what the codec made of that
    parts: Callable[[State], State] = as_encoded
    #: what it answers in place of its reply; the folder is its own
    reply: Callable[[bytes, Path], bytes] = as_written
    goal: Goal | None = None
    #: whether it has a meaning only where contributions are differences to what was received
    differences: bool = False


HONEST = Attack()


def together(attacks: Sequence[Attack]) -> Attack:
    """One attack after the other at the same sites; the goal is the last one's that has one."""

    def examples(given: Sequence[Example], labels: Sequence[str], seed: int) -> Sequence[Example]:
        for attack in attacks:
            given = attack.examples(given, labels, seed)
        return given

    def update(given: Contribution, random: np.random.Generator) -> Contribution:
        for attack in attacks:
            given = attack.update(given, random)
        return given

    def parts(given: State) -> State:
        for attack in attacks:
            given = attack.parts(given)
        return given

    def reply(given: bytes, folder: Path) -> bytes:
        for attack in attacks:
            given = attack.reply(given, folder)
        return given

    goal = next((attack.goal for attack in reversed(attacks) if attack.goal), None)
    return Attack(examples, update, parts, reply, goal, any(a.differences for a in attacks))
