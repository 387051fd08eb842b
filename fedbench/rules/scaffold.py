"""SCAFFOLD (Karimireddy et al., arXiv:1910.06378, algorithm 1, option II): control variates.

A site's c_k says where its own gradient points, the server's c where that of all points. Sites step
along g + c - c_k, so that they do not drift towards their own minima. After its steps

    c_k  <-  c_k - c + (x - y_k) / sum of rates,

where x was received and y_k is what the site made of it: under plain SGD x - y_k is the sum over
steps of rate (g + c - c_k), so c_k becomes the mean of g, weighted by rates. The paper's K eta is
that sum where the rate is constant. The server adds up

    x  <-  x + sum_k n_k (y_k - x) / sum_k n_k,
    c  <-  c + share x sum_k n_k (c_k' - c_k) / sum_k n_k,

with ``share`` the cohort's part of all sites. The paper counts sites alike; here they count by
examples, as the objective does that FedAvg has, so that c is the mean of all c_k weighted alike.

Where ``gradient_clip`` shortens a step, c_k is the mean of what was stepped along, not of g: give
it room, or the variates are those of clipped gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedbench.rules.equal_ranks import NOT_DERIVED, only_equal_ranks
from fedbench.rules.plain_sgd import only_plain_sgd
from fedbench.rules.rule import Contribution, Message, Reduced, Rule, State, Work

if TYPE_CHECKING:
    from fedbench.config import RunConfig
    from fedbench.train import LocalObjective

_ADAPTER, _CONTROL, _SHARE = "adapter/", "control/", "share of sites"


def scaffold() -> Rule:
    """FedAvg of sites whose gradients are corrected by control variates."""
    refuses = only_equal_ranks(NOT_DERIVED, also=only_plain_sgd)
    return Rule(
        "scaffold", "sum", init, broadcast, local, upload, server, refuses, moved=moved, keeps=True
    )


def init(adapter: State, config: RunConfig) -> State:
    """The adapter, a control variate of zero, and the share of sites in a cohort."""
    some = next(iter(adapter.values()))
    controls = {_CONTROL + name: tensor.new_zeros(tensor.shape) for name, tensor in adapter.items()}
    share = {_SHARE: some.new_full((1,), config.participation)}
    return {_ADAPTER + name: tensor for name, tensor in adapter.items()} | controls | share


def broadcast(state: State, site: str) -> Message:
    """The adapter, and the server's control variate beside it."""
    return Message(adapter=_part(state, _ADAPTER), extra=_part(state, _CONTROL))


def local(message: Message, site_state: State) -> LocalObjective:
    """Add c - c_k to every gradient; a site's first c_k is zero.

    Raises:
        ValueError: what is told or kept is of other tensors than the adapter's.
    """
    from fedbench.train import LocalObjective

    own = site_state or _zeros(message)
    parts = (message.adapter, message.extra, own)
    kinds = [{name: tensor.shape for name, tensor in part.items()} for part in parts]
    if not kinds[0] == kinds[1] == kinds[2]:
        raise ValueError("control variates are those of other tensors")
    return LocalObjective(correction={n: c - own[n] for n, c in message.extra.items()})


def upload(
    message: Message, trained: State, site_state: State, work: Work
) -> tuple[Contribution, State]:
    """What changed of the adapter and of c_k; the new c_k stays with the site."""
    own = site_state or _zeros(message)
    update = {name: trained[name] - received for name, received in message.adapter.items()}
    if not work.steps:
        new = own
    else:
        new = {n: own[n] - c - update[n] / work.rates for n, c in message.extra.items()}
    changed = {_ADAPTER + n: moved for n, moved in update.items()}
    changed |= {_CONTROL + n: new[n] - own[n] for n in new}
    return Contribution(changed, float(work.examples)), new


def moved(message: Message, contribution: Contribution) -> State | None:
    """What changed of the adapter, without the control variate."""
    return _part(contribution.tensors, _ADAPTER)


def server(state: State, reduced: Reduced | Iterator[Contribution]) -> State:
    """Move the adapter by the mean update, c by the cohort's share of the mean change of c_k."""
    assert isinstance(reduced, Reduced)
    share = float(state[_SHARE])
    moved = {
        name: state[name] + (share if name.startswith(_CONTROL) else 1.0) * change
        for name, change in reduced.mean.items()
    }
    return state | moved


def _part(state: State, part: str) -> State:
    return {n.removeprefix(part): tensor for n, tensor in state.items() if n.startswith(part)}


def _zeros(message: Message) -> State:
    return {name: tensor.new_zeros(tensor.shape) for name, tensor in message.extra.items()}
