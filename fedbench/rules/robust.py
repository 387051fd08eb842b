"""A rule that differs from FedAvg only in how the server makes one update of many."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fedbench.rules.fedavg import broadcast, init, local, upload
from fedbench.rules.rule import USUAL, Claim, Contribution, Reduced, Rule, State
from fedbench.rules.stacked import Stacked, added, stack

#: of rules to whom all sites are alike, whatever they say of their examples
ALIKE: frozenset[Claim] = USUAL - {"weighted"}


def robust(
    name: str, combine: Callable[[Stacked], State], claims: frozenset[Claim] = USUAL
) -> Rule:
    """FedAvg whose server adds ``combine`` of the updates in place of their mean."""

    def server(state: State, reduced: Reduced | Iterator[Contribution]) -> State:
        return added(state, combine(stack(reduced)))

    return Rule(name, "each", init, broadcast, local, upload, server, claims=claims)
