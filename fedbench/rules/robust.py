"""A rule that differs from FedAvg only in how the server makes one update of many."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fedbench.rules.fedavg import broadcast, init, local, upload
from fedbench.rules.rule import Contribution, Reduced, Rule, State
from fedbench.rules.stacked import Stacked, added, stack


def robust(name: str, combine: Callable[[Stacked], State]) -> Rule:
    """FedAvg whose server adds ``combine`` of the updates in place of their mean."""

    def server(state: State, reduced: Reduced | Iterator[Contribution]) -> State:
        return added(state, combine(stack(reduced)))

    return Rule(name, "each", init, broadcast, local, upload, server)
