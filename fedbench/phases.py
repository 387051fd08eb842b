"""What a run is doing right now, told to whoever measures it; to nobody, it costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Literal, get_args

Phase = Literal["load", "train", "aggregate", "evaluate", "wire", "other"]
PHASES: tuple[Phase, ...] = get_args(Phase)
Observer = Callable[[Phase], AbstractContextManager[None]]

_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


def phase(name: Phase) -> AbstractContextManager[None]:
    """Mark the block as one phase of a run; inside another phase it counts for itself alone."""
    observer = _observer.get()
    return nullcontext() if observer is None else observer(name)


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Let ``observer`` see every phase inside the block."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)
