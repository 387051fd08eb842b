"""What one benchmark measures, and about how long each part takes."""

from __future__ import annotations

from dataclasses import dataclass

from fedbench.bench.alone import FLOWER
from fedbench.bench.machine import KERNEL, PROGRAMS
from fedbench.bench.shapes import SHAPES, SIZES, Alone, Timed, Work
from fedbench.bench.sides import OURS


@dataclass(frozen=True)
class Plan:
    """Everything that is measured, each in turn."""

    repeats: int
    steps: tuple[Timed, ...]
    rounds: tuple[Timed, ...]
    alone: tuple[Alone, ...]
    start_up: tuple[str, ...]


_ONE_WORD = SHAPES["one-word answers"]
#: Of a site, in one call: fewer where a step takes longer.
_STEPS = {"2M": 4, "7M": 2, "30M": 1}
#: Half of the sites, ten steps each; twice as many sites would double both sides of every ratio.
_ROUND = Work(sites=4, cohort=2, steps=10)
_FEDERATION = Work(sites=4, cohort=4, steps=10)

#: Rounds at 7M have one shape, what stands beside Flower is 2M, and the loops that are timed in
#: pairs have no process of their own (``alone`` runs them too), to end within 20 minutes.
STANDARD = Plan(
    repeats=5,
    steps=tuple(
        Timed(size, shape, Work(steps=_STEPS[name]))
        for name, size in SIZES.items()
        for shape in SHAPES.values()
    ),
    rounds=(
        *(Timed(SIZES["2M"], shape, _ROUND) for shape in SHAPES.values()),
        Timed(SIZES["7M"], _ONE_WORD, _ROUND),
    ),
    alone=tuple(Alone(who, SIZES["2M"], _ONE_WORD, _FEDERATION, 10) for who in (OURS, FLOWER)),
    start_up=(*PROGRAMS, KERNEL),
)
