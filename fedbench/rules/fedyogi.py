"""FedYogi (Reddi et al., arXiv:2003.00295, algorithm 2).

    m  <-  beta1 m + (1 - beta1) u,    v  <-  v - (1 - beta2) u^2 sign(v - u^2),
    x  <-  x + rate m / (sqrt(v) + tau)

with u the mean update of FedAvg, and v = tau^2 at first. Beside FedAdam, v moves by the size of
u^2 alone, not by its distance from v, so it forgets more slowly when updates become small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedbench.rules.rule import Rule
from fedbench.rules.server_optimizer import positive, server_optimizer, share

if TYPE_CHECKING:
    from torch import Tensor


def fedyogi(
    rate: float = 0.01, beta1: float = 0.9, beta2: float = 0.99, tau: float = 0.001
) -> Rule:
    """FedAdam with a second moment that moves additively.

    Raises:
        ValueError: an option is out of range.
    """
    positive(rate=rate, tau=tau)
    share(beta1=beta1, beta2=beta2)

    def step(update: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = beta1 * first + (1 - beta1) * update
        square = update.square()
        second = second - (1 - beta2) * square * (second - square).sign()
        return rate * first / (second.sqrt() + tau), first, second

    return server_optimizer("fedyogi", step, second=tau**2)
