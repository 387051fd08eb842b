"""The sign that most sites agree on, as in signSGD with majority vote (arXiv:1802.04434).

    x  <-  x + m sign( sum_k sign(x_k - x) )        (Bernstein et al., algorithm 3)

Each site has one vote, however many examples it holds. (The server sees a sum, so a hostile site
that sends more than a sign still outvotes others: this is no robust rule.) The paper's step is a
learning rate; here it is m, by tensor the mean over sites of the mean magnitude of their updates,
so that there is nothing to tune. A tie moves nothing. Sent in the codec ``sign``, a vote takes one
bit.
"""

from __future__ import annotations

from collections.abc import Iterator

from fedbench.rules.equal_ranks import NOT_DERIVED, only_equal_ranks
from fedbench.rules.fedavg import broadcast, init, local
from fedbench.rules.rule import Claim, Contribution, Message, Reduced, Rule, State, Work

CLAIMS: frozenset[Claim] = frozenset()
_SIZE = "size of "


def majority_vote() -> Rule:
    """Move every number by the mean size of updates, where most sites moved it."""
    refuses = only_equal_ranks(NOT_DERIVED)
    return Rule(
        "majority-vote", "sum", init, broadcast, local, upload, server, refuses, CLAIMS, moved
    )


def upload(
    message: Message, trained: State, site_state: State, work: Work
) -> tuple[Contribution, State]:
    """The signs of the update, and the mean magnitude of each of its tensors."""
    update = {name: trained[name] - received for name, received in message.adapter.items()}
    signs = {name: tensor.sign() for name, tensor in update.items()}
    sizes = {_SIZE + name: tensor.abs().mean().reshape(1) for name, tensor in update.items()}
    return Contribution(signs | sizes, 1.0), {}


def moved(message: Message, contribution: Contribution) -> State | None:
    """A sign does not tell by how much."""
    return None


def server(state: State, reduced: Reduced | Iterator[Contribution]) -> State:
    """Move by the vote."""
    assert isinstance(reduced, Reduced)
    mean = reduced.mean
    return {name: x + mean[_SIZE + name] * mean[name].sign() for name, x in state.items()}
