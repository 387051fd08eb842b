"""FedAdagrad (Reddi et al., arXiv:2003.00295, algorithm 2).

    m  <-  beta1 m + (1 - beta1) u,    v  <-  v + u^2,    x  <-  x + rate m / (sqrt(v) + tau)

with u the mean update of FedAvg, and v = tau^2 at first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedbench.rules.rule import Rule
from fedbench.rules.server_optimizer import positive, server_optimizer, share

if TYPE_CHECKING:
    from torch import Tensor


def fedadagrad(rate: float = 0.01, beta1: float = 0.0, tau: float = 0.001) -> Rule:
    """Steps that shrink with the sum of all squared updates so far.

    Raises:
        ValueError: an option is out of range.
    """
    positive(rate=rate, tau=tau)
    share(beta1=beta1)

    def step(update: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = beta1 * first + (1 - beta1) * update
        second = second + update.square()
        return rate * first / (second.sqrt() + tau), first, second

    return server_optimizer("fedadagrad", step, second=tau**2)
