"""A rule that differs from FedAvg only in how the server makes one update of many."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fedbench.rules.equal_ranks import only_equal_ranks
from fedbench.rules.fedavg import broadcast, init, local, upload
from fedbench.rules.rule import USUAL, Claim, Contribution, Reduced, Rule, State
from fedbench.rules.stacked import Stacked, added, stack

_RANKS = "it compares updates, and a rank that a site lacks would count as one that did not move"
#: of rules to whom all sites are alike, whatever they say of their examples
ALIKE: frozenset[Claim] = USUAL - {"weighted"}


def robust(
    name: str, combine: Callable[[Stacked], State], claims: frozenset[Claim] = USUAL
) -> Rule:
    """FedAvg whose server adds ``combine`` of the updates in place of their mean."""

    def server(state: State, reduced: Reduced | Iterator[Contribution]) -> State:
        return added(state, combine(stack(reduced)))

    refuses = only_equal_ranks(_RANKS)
    return Rule(name, "each", init, broadcast, local, upload, server, refuses, claims)
