"""FedNova (Wang et al., arXiv:2007.07481, equations 4 to 6): sites that do more steps do not rule.

    d_k  =  (y_k - x) / a_k,    x  <-  x + (sum_k p_k a_k) (sum_k p_k d_k),    p_k = n_k / sum n

with x what was received, y_k what site k made of it, and a_k the sum of the learning rate over its
steps, which is the paper's eta tau_k where the rate is constant. In effect FedAvg weights a site by
p_k a_k, so that sites with more steps pull the model towards their own minima, although their
examples are counted already. Where all do the same steps, this is FedAvg.
"""

from __future__ import annotations

from collections.abc import Iterator

from fedbench.rules.equal_ranks import NOT_DERIVED, only_equal_ranks
from fedbench.rules.fedavg import broadcast, init, local
from fedbench.rules.plain_sgd import only_plain_sgd
from fedbench.rules.rule import Contribution, Message, Reduced, Rule, State, Work

_RATES = "sum of rates"


def fednova() -> Rule:
    """The mean of updates per unit of local work, at the mean amount of work."""
    refuses = only_equal_ranks(NOT_DERIVED, also=only_plain_sgd)
    return Rule("fednova", "sum", init, broadcast, local, upload, server, refuses, moved=moved)


def upload(
    message: Message, trained: State, site_state: State, work: Work
) -> tuple[Contribution, State]:
    """The update per unit of work, and how much work it was."""
    per = work.rates or 1.0  # without a step there is nothing to divide
    update = {n: (trained[n] - received) / per for n, received in message.adapter.items()}
    some = next(iter(update.values()))
    return Contribution(
        update | {_RATES: some.new_full((1,), work.rates)}, float(work.examples)
    ), {}


def moved(message: Message, contribution: Contribution) -> State | None:
    """The update per unit of work, times the work."""
    work = float(contribution.tensors[_RATES])
    return {n: work * tensor for n, tensor in contribution.tensors.items() if n != _RATES}


def server(state: State, reduced: Reduced | Iterator[Contribution]) -> State:
    """Move by the mean update per unit of work, times the mean work."""
    assert isinstance(reduced, Reduced)
    mean = reduced.mean
    work = float(mean[_RATES])
    return {name: value + work * mean[name] for name, value in state.items()}
