"""Updates of nan or infinity, which no mean survives: a server must refuse them.

Whatever the codec, since what it made of an update is overwritten: its floating-point parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fedbench.attacks.attack import Attack

if TYPE_CHECKING:
    from fedbench.rules.rule import State


def not_a_number() -> Attack:
    """Nan in place of every number."""
    return Attack(parts=_of(float("nan")))


def infinite() -> Attack:
    """Infinity in place of every number."""
    return Attack(parts=_of(float("inf")))


def _of(value: float) -> Callable[[State], State]:
    def parts(given: State) -> State:
        return {
            name: part.new_full(part.shape, value) if part.is_floating_point() else part
            for name, part in given.items()
        }

    return parts
