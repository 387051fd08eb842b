"""What the benchmark starts as a process of its own does its rounds there, and ends well."""

from __future__ import annotations

import pytest

from fedbench.bench.alone import FLOWER, flower_is_there, measure_alone
from fedbench.bench.shapes import SHAPES, Alone, Size, Work
from fedbench.bench.sides import OURS, PLAIN, TRAINER

pytestmark = pytest.mark.slow

_FLOWER = pytest.param(
    FLOWER,
    marks=pytest.mark.skipif(not flower_is_there(), reason="the extra flower is not installed"),
)


@pytest.mark.parametrize("who", [OURS, PLAIN, TRAINER, _FLOWER])
def test_a_federation_runs_in_a_process_of_its_own(who):
    work = Work(sites=2, cohort=1, steps=1, batch_size=2)
    size, shape = Size("2M", 32, 48, 2, 2), SHAPES["one-word answers"]
    found = measure_alone(Alone(who, size, shape, work, rounds=2))
    assert found["seconds"] > 0
    assert found["processes"] >= 1
    assert found["peak_bytes"] > 1e8  # torch alone takes more
