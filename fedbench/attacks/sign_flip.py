"""Sign flipping (Li et al., RSA, AAAI 2019): what was learned, the other way round.

As long as the honest update, so that no rule that looks at norms alone notices.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fedbench.attacks.attack import Attack

if TYPE_CHECKING:
    import numpy as np

    from fedbench.rules.rule import Contribution


def sign_flip() -> Attack:
    """The honest update times -1."""
    return Attack(update=_flipped, differences=True)


def _flipped(contribution: Contribution, random: np.random.Generator) -> Contribution:
    return replace(contribution, tensors={n: -t for n, t in contribution.tensors.items()})
