"""What FedAvgM, FedAdagrad, FedAdam and FedYogi share: the mean update is a step's gradient.

Reddi et al., arXiv:2003.00295, algorithm 2: sites do what they do under FedAvg; the server keeps a
first and a second moment of the mean update, and moves by them. There is no correction of bias, as
in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fedbench.rules.equal_ranks import only_equal_ranks
from fedbench.rules.fedavg import local, upload
from fedbench.rules.rule import Claim, Contribution, Message, Reduced, Rule, State

if TYPE_CHECKING:
    from torch import Tensor

    from fedbench.config import RunConfig

#: from the mean update and both moments: the step, and both moments afterwards
Step = Callable[["Tensor", "Tensor", "Tensor"], tuple["Tensor", "Tensor", "Tensor"]]

#: a step of the server has a size of its own, so a site alone is not simply taken over
CLAIMS: frozenset[Claim] = frozenset({"weighted"})
_RANKS = "its memory of a rank would mix sites that hold it with sites that do not"

_PARTS = ("adapter/", "first/", "second/")


def server_optimizer(name: str, step: Step, second: float = 0.0) -> Rule:
    """A rule whose server moves by ``step``.

    Args:
        name: of the rule.
        step: what is done to every tensor alike.
        second: what the second moment starts from.
    """

    def init(adapter: State, config: RunConfig) -> State:
        return {
            part + key: value
            for key, tensor in adapter.items()
            for part, value in zip(
                _PARTS,
                (tensor, tensor.new_zeros(tensor.shape), tensor.new_full(tensor.shape, second)),
                strict=True,
            )
        }

    def server(state: State, reduced: Reduced | Iterator[Contribution]) -> State:
        assert isinstance(reduced, Reduced)
        after: State = {}
        for key, update in reduced.mean.items():
            adapter, *moments = (state[part + key] for part in _PARTS)
            moved, *moments = step(update, *moments)
            after |= zip((part + key for part in _PARTS), (adapter + moved, *moments), strict=True)
        return after

    refuses = only_equal_ranks(_RANKS)
    return Rule(name, "sum", init, broadcast, local, upload, server, refuses, CLAIMS)


def broadcast(state: State, site: str) -> Message:
    """The adapter alone: moments stay with the server."""
    own = _PARTS[0]
    adapter = {key.removeprefix(own): v for key, v in state.items() if key.startswith(own)}
    return Message(adapter=adapter, extra={})


def positive(**options: float) -> None:
    """Refuse options that are not above zero.

    Raises:
        ValueError: naming the first of them.
    """
    for name, value in options.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0")


def share(**options: float) -> None:
    """Refuse options that are not at least zero and below one.

    Raises:
        ValueError: naming the first of them.
    """
    for name, value in options.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be at least 0 and below 1")
