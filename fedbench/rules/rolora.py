"""RoLoRA (Chen et al., arXiv:2502.01755, section 4): B is trained in one round, A in the next.

While one factor is trained, the other is the same for all, so the average of products is exact in
every round, and yet both factors learn. B is first: as long as it is zero, A has no gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedbench.rules.lora_halves import downs, only_lora, ups
from fedbench.rules.rule import USUAL, Claim, Contribution, Message, Reduced, Rule, State, Work

if TYPE_CHECKING:
    from fedbench.config import RunConfig
    from fedbench.train import LocalObjective

_ROUNDS, _ODD = "rounds done", "odd round"

CLAIMS: frozenset[Claim] = USUAL | {"exact"}


def rolora() -> Rule:
    """FedAvg of B and of A in turn."""
    return Rule("rolora", "sum", init, broadcast, local, upload, server, only_lora, CLAIMS)


def init(adapter: State, config: RunConfig) -> State:
    """The adapter, and a count of rounds."""
    some = next(iter(adapter.values()))
    return {**adapter, _ROUNDS: some.new_zeros(1)}


def broadcast(state: State, site: str) -> Message:
    """The adapter, and whether the number of rounds done is odd.

    0 and 1 come through any codec as they are; a large count comes out as another one.
    """
    adapter = {name: tensor for name, tensor in state.items() if name != _ROUNDS}
    return Message(adapter=adapter, extra={_ODD: state[_ROUNDS] % 2})


def local(message: Message, site_state: State) -> LocalObjective:
    """Train the factor whose turn it is."""
    from fedbench.train import LocalObjective

    return LocalObjective(frozen=_still(message))


def upload(
    message: Message, trained: State, site_state: State, work: Work
) -> tuple[Contribution, State]:
    """The difference of the factor that was trained to what was received."""
    still = _still(message)
    update = {n: trained[n] - got for n, got in message.adapter.items() if n not in still}
    return Contribution(update, float(work.examples)), {}


def server(state: State, reduced: Reduced | Iterator[Contribution]) -> State:
    """Add the weighted mean of what was trained, and count the round."""
    assert isinstance(reduced, Reduced)
    moved = {name: state[name] + update for name, update in reduced.mean.items()}
    return state | moved | {_ROUNDS: state[_ROUNDS] + 1}


def _still(message: Message) -> frozenset[str]:
    of_this_round = ups if round(float(message.extra[_ODD])) else downs
    return of_this_round(message.adapter)
