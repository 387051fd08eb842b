"""Scaling, or model replacement (Bagdasaryan et al., arXiv:1807.00459, equation 3).

A site of weight p that sends its update times 1/p puts its own model in place of FedAvg's mean,
as far as the others have stopped moving. The paper scales what was learned from poisoned examples:
``backdoor+scaling:factor=8``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fedbench.attacks.attack import Attack

if TYPE_CHECKING:
    import numpy as np

    from fedbench.rules.rule import Contribution


def scaling(factor: float = 10.0) -> Attack:
    """The update times ``factor``.

    Raises:
        ValueError: ``factor`` is not above 0.
    """
    if not factor > 0:
        raise ValueError("factor must be above 0; sign-flip turns an update round")

    def update(contribution: Contribution, random: np.random.Generator) -> Contribution:
        scaled = {name: tensor * factor for name, tensor in contribution.tensors.items()}
        return replace(contribution, tensors=scaled)

    return Attack(update=update, differences=True)
