"""FedAvgM (Hsu et al., arXiv:1909.06335, section 3): the server's step has momentum.

    v  <-  momentum v + u,    x  <-  x + rate v

with u the mean update of FedAvg. With momentum = 0 and rate = 1 this is FedAvg.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedbench.rules.rule import Rule
from fedbench.rules.server_optimizer import positive, server_optimizer, share

if TYPE_CHECKING:
    from torch import Tensor


def fedavgm(momentum: float = 0.9, rate: float = 1.0) -> Rule:
    """FedAvg with server momentum.

    Raises:
        ValueError: an option is out of range.
    """
    positive(rate=rate)
    share(momentum=momentum)

    def step(update: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = momentum * first + update
        return rate * first, first, second

    return server_optimizer("fedavgm", step)
