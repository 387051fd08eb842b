"""A plan of microscopic measurements, and the record that it makes, once for all tests."""

from __future__ import annotations

import pytest

from fedbench.bench.measuring import measure
from fedbench.bench.plan import Plan
from fedbench.bench.shapes import SHAPES, Size, Timed, Work

SIZE = Size("2M", 32, 48, 2, 2)
WORK = Work(sites=2, cohort=1, steps=2, batch_size=3)


@pytest.fixture(scope="session")
def plan():
    steps = tuple(Timed(SIZE, shape, WORK) for shape in SHAPES.values())
    return Plan(repeats=1, steps=steps, rounds=steps[:1], alone=(), start_up=("help",))


@pytest.fixture(scope="session")
def record(plan):
    return measure(plan, progress=False)
