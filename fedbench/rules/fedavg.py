"""FedAvg (McMahan et al., arXiv:1602.05629, algorithm 1), on whatever tensors are trained.

    x  <-  x + sum_k n_k (x_k - x) / sum_k n_k

with x_k what site k made of x, and n_k its number of training examples. LoRA's A and B are
averaged apart, which is not the average of their products B A (arXiv:2403.12313, section 3). Where
a site holds fewer ranks than others, its update of those that it lacks is zero: they stay as they
are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedbench.rules.rule import Contribution, Message, Reduced, Rule, State, Work

if TYPE_CHECKING:
    from fedbench.config import RunConfig
    from fedbench.train import LocalObjective


def fedavg() -> Rule:
    """The mean of updates, weighted by examples."""
    return Rule("fedavg", "sum", init, broadcast, local, upload, server)


def init(adapter: State, config: RunConfig) -> State:
    """The server's state is the shared adapter."""
    return adapter


def broadcast(state: State, site: str) -> Message:
    """Every site gets the same."""
    return Message(adapter=state, extra={})


def local(message: Message, site_state: State) -> LocalObjective:
    """Sites minimise their own loss and nothing else."""
    from fedbench.train import LocalObjective

    return LocalObjective()


def upload(
    message: Message, trained: State, site_state: State, work: Work
) -> tuple[Contribution, State]:
    """The difference to what was received, weighted by the number of training examples."""
    update = {name: trained[name] - received for name, received in message.adapter.items()}
    return Contribution(update, float(work.examples)), {}


def server(state: State, reduced: Reduced | Iterator[Contribution]) -> State:
    """Add the weighted mean of the updates."""
    assert isinstance(reduced, Reduced)
    return {name: value + reduced.total[name] / reduced.weight for name, value in state.items()}
