"""WRONG ON PURPOSE: averaging keeps the first site and loses the others.

    x  <-  x + (x_1 - x)    in place of    x + sum_k n_k (x_k - x) / sum_k n_k

FLoRA's code compares itself with a FedAvg that keeps only its first client, for a misspelt
variable, and of that client's adapter its share of the average, n_1 / sum_k n_k. Here the first
site counts whole, so that what is lost is the others and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

from fedbench.rules.fedavg import broadcast, init, local, upload
from fedbench.rules.rule import Contribution, Reduced, Rule, State


def first_site() -> Rule:
    """FedAvg that hears one site."""
    return Rule("defect-first-site", "each", init, broadcast, local, upload, server)


def server(state: State, reduced: Reduced | Iterator[Contribution]) -> State:
    """Add the first site's update, and drop all others."""
    assert not isinstance(reduced, Reduced)
    first, *_ = reduced
    return {name: value + first.tensors[name] for name, value in state.items()}
