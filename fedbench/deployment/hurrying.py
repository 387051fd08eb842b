"""What ends a turn that takes longer than a site's policy allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from torch import nn

from fedbench.deployment.policy import not_allowed
from fedbench.tokens import Answered
from fedbench.train import Accumulated, Gradient


def within(
    gradient: Gradient, seconds: float, clock: Callable[[], float] = time.monotonic
) -> Gradient:
    """The same gradient for one turn, which ends once it has taken so many seconds.

    The time runs from here on. A step that has begun is not cut short, so a turn may take as much
    longer as one step does.

    The gradient raises BadPayload when the time is up, and leaves what a step left in the
    parameters to whoever trains, as other gradients that fail do.
    """
    end = clock() + seconds

    def until(model: nn.Module, sequences: Sequence[Answered]) -> Accumulated:
        found = gradient(model, sequences)
        if clock() > end:
            raise not_allowed(
                f"longest_round is {seconds:g} seconds, and a turn was not done by then"
            )
        return found

    return until
