"""FedProx (Li et al., arXiv:1812.06127, algorithm 2): sites are held near what they received.

A site minimises its own loss plus mu / 2 |x - x_received|^2, the square of the distance over all
trained tensors together. Averaging is FedAvg's. With mu = 0 this is FedAvg.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fedbench.rules.fedavg import broadcast, init, server, upload
from fedbench.rules.rule import Message, Rule, State

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fedbench.train import LocalObjective


def fedprox(mu: float = 0.01) -> Rule:
    """FedAvg of sites that pay ``mu`` / 2 times the square of their distance.

    Raises:
        ValueError: ``mu`` is negative.
    """
    if mu < 0:
        raise ValueError("mu must not be negative")

    def local(message: Message, site_state: State) -> LocalObjective:
        from fedbench.train import LocalObjective

        def penalty(parameters: Mapping[str, nn.Parameter]) -> Tensor:
            squares = [
                (p - message.adapter[name].to(p.device)).square().sum()
                for name, p in parameters.items()
            ]
            return mu / 2 * sum(squares[1:], start=squares[0])

        return LocalObjective(penalty=penalty)

    return Rule("fedprox", "sum", init, broadcast, local, upload, server)
