"""FFA-LoRA (Sun et al., arXiv:2403.12313, section 4): A stays as it was drawn, B is trained.

With A the same for all, the mean of B A is the mean of B times A, so averaging is exact; a site
uploads half as many numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedbench.rules.fedavg import broadcast, init
from fedbench.rules.lora_halves import downs, only_lora
from fedbench.rules.rule import USUAL, Claim, Contribution, Message, Reduced, Rule, State, Work

if TYPE_CHECKING:
    from fedbench.train import LocalObjective

CLAIMS: frozenset[Claim] = USUAL | {"exact"}


def ffa_lora() -> Rule:
    """FedAvg of B alone."""
    return Rule("ffa-lora", "sum", init, broadcast, local, upload, server, only_lora, CLAIMS)


def local(message: Message, site_state: State) -> LocalObjective:
    """Train B only."""
    from fedbench.train import LocalObjective

    return LocalObjective(frozen=downs(message.adapter))


def upload(
    message: Message, trained: State, site_state: State, work: Work
) -> tuple[Contribution, State]:
    """The difference of B to what was received."""
    still = downs(message.adapter)
    update = {n: trained[n] - got for n, got in message.adapter.items() if n not in still}
    return Contribution(update, float(work.examples)), {}


def server(state: State, reduced: Reduced | Iterator[Contribution]) -> State:
    """Add the weighted mean of what was trained."""
    assert isinstance(reduced, Reduced)
    return state | {name: state[name] + update for name, update in reduced.mean.items()}
