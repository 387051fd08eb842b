"""The interface of a rule: what a site optimises and sends, and what the server does with it.

All functions are pure. States are flat dictionaries of tensors, so that they can be stored and
sent as they are. A rule's options are arguments of the function that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from fedbench.config import RunConfig
    from fedbench.train import LocalObjective

State = dict[str, "Tensor"]

#: what a rule may promise, to be checked: a site with more examples counts more; a site alone
#: becomes the shared adapter; the result is the true mean of LoRA's products B A; or the best one
#: of the shared rank
Claim = Literal["weighted", "alone", "exact", "best"]
USUAL: frozenset[Claim] = frozenset({"weighted", "alone"})


@dataclass(frozen=True)
class Message:
    """What the server tells one site: the adapter, and whatever else the rule needs there."""

    adapter: State
    extra: State


@dataclass(frozen=True)
class Contribution:
    """What one site gives to the server: tensors and the weight they count with."""

    tensors: State
    weight: float


@dataclass(frozen=True)
class Reduced:
    """The weighted sum of a cohort's contributions: sum of weight x tensors, and of weights."""

    total: State
    weight: float

    @property
    def mean(self) -> State:
        """The weighted mean of the contributions."""
        return {name: tensor / self.weight for name, tensor in self.total.items()}


def anything(config: RunConfig) -> str:
    """Refuse no configuration."""
    return ""


@dataclass(frozen=True)
class Rule:
    """A federated algorithm.

    ``reduce`` says what ``server`` is given: a :class:`Reduced` sum, which secure aggregation
    can supply, or an iterator over every :class:`Contribution` in the order of sites.
    """

    name: str
    reduce: Literal["sum", "each"]
    init: Callable[[State, RunConfig], State]
    broadcast: Callable[[State, str], Message]
    local: Callable[[Message, State], LocalObjective]
    upload: Callable[[Message, State, State, int], tuple[Contribution, State]]
    server: Callable[[State, Reduced | Iterator[Contribution]], State]
    #: why a configuration has no meaning under this rule; empty where it has one
    refuses: Callable[[RunConfig], str] = anything
    claims: frozenset[Claim] = USUAL
