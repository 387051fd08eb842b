"""What the numbers are held against. A verdict is computed from a record, never written down."""

from __future__ import annotations

from dataclasses import dataclass

from fedbench.bench.alone import FLOWER
from fedbench.bench.sides import PLAIN, TRAINER

ONE_WORD, LONG = "one-word answers", "long answers"


@dataclass(frozen=True)
class Target:
    """The greatest median that meets it, of the rows it speaks of."""

    quantity: str
    shape: str | None  #: None: of any shape
    most: float


STEP, ROUND, ROUND_STEPS = "step", "round", "round / its own steps"
ALONE_TIME, ALONE_MEMORY = "whole process, time", "whole process, memory"
ALONE_USER, ALONE_STEPS = "whole process, user time", "whole process, steps"
HELP = "start-up, help"

TARGETS: tuple[Target, ...] = (
    Target(f"{STEP} / {PLAIN}", ONE_WORD, 0.40),
    Target(f"{STEP} / {PLAIN}", LONG, 0.60),
    Target(ROUND_STEPS, None, 1.05),
    Target(f"{ROUND} / {TRAINER}", None, 0.30),
    Target(f"{ALONE_TIME} / {FLOWER}", None, 0.30),
    Target(f"{ALONE_MEMORY} / {FLOWER}", None, 0.50),
    Target(HELP, None, 0.5),
)


def target_of(quantity: str, shape: str) -> float | None:
    """The greatest value that is asked of a quantity at a shape; None where none is."""
    for target in TARGETS:
        if target.quantity == quantity and target.shape in (None, shape):
            return target.most
    return None


def verdict(median: float, most: float | None) -> str:
    """Whether ``median`` is at most ``most``, and by what share of it it is below or above.

    >>> verdict(0.36, 0.40), verdict(0.50, 0.40)
    ('met by 10 %', 'missed by 25 %')
    """
    if most is None:
        return ""
    share = abs(median / most - 1)
    return f"{'met' if median <= most else 'missed'} by {100 * share:.0f} %"
