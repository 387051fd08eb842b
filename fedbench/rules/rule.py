"""The interface of a rule: what a site optimises and sends, and what the server does with it.

All functions are pure. States are flat dictionaries of tensors, so that they can be stored and
sent as they are. A rule's options are arguments of the function that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from fedbench.config import RunConfig
    from fedbench.train import LocalObjective

State = dict[str, "Tensor"]

#: what a rule may promise, to be checked: a site with more examples counts more; a site alone
#: becomes the shared adapter; the result is the true mean of LoRA's products B A; or the best one
#: of the shared rank; and all this holds for sites of fewer ranks, too
Claim = Literal["weighted", "alone", "exact", "best", "ranks"]
USUAL: frozenset[Claim] = frozenset({"weighted", "alone"})


@dataclass(frozen=True)
class Message:
    """What the server tells one site: the adapter, and whatever else the rule needs there.

    ``delta`` holds the factors of what is added to the backbone's frozen weights, all rounds
    together (:mod:`fedbench.models.deltas`).
    """

    adapter: State
    extra: State
    delta: State = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What a site did for its update."""

    examples: int  #: that it holds for training
    steps: int  #: of its optimizer in this round
    rates: float  #: sum of the learning rate over these steps


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


def received(message: Message, site_state: State, initial: State) -> State:
    """A site goes on from what it was told."""
    return message.adapter


def as_sent(message: Message, contribution: Contribution) -> State | None:
    """A contribution that is a difference to what was received, and nothing else."""
    return contribution.tensors


def as_factors(message: Message, contribution: Contribution) -> State | None:
    """The difference of whole factors to what was received; None where they are of another rank."""
    sent, received = contribution.tensors, message.adapter
    if any(tensor.shape != received[name].shape for name, tensor in sent.items()):
        return None
    return {name: tensor - received[name] for name, tensor in sent.items()}


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
    upload: Callable[[Message, State, State, Work], tuple[Contribution, State]]
    server: Callable[[State, Reduced | Iterator[Contribution]], State]
    #: why a configuration has no meaning under this rule; empty where it has one
    refuses: Callable[[RunConfig], str] = anything
    claims: frozenset[Claim] = USUAL
    #: by how much a site's adapter moved from what it was told, as far as its contribution says;
    #: None where that cannot be told
    moved: Callable[[Message, Contribution], State | None] = as_sent
    #: what a site goes on from, if that is not the shared adapter: of the message, its own state,
    #: and the adapter as it was at first
    own: Callable[[Message, State, State], State] = received

    #: whether a site keeps a state of its own after every upload, which its next turn needs
    keeps: bool = False
    #: whether its server adds to the backbone's frozen weights (:attr:`Message.delta`)
    folds: bool = False

    @property
    def personal(self) -> bool:
        """Whether sites end with adapters of their own."""
        return self.own is not received

    @property
    def differences(self) -> bool:
        """Whether contributions are zero where nothing was learned; whole factors are not."""
        return self.moved is not as_factors
