"""What the benchmark starts as a process of its own does its rounds there, and ends well."""

from __future__ import annotations

import pytest

from fedbench.bench.alone import FLOWER, flower_is_there, measure_alone
from fedbench.bench.outcome import check_same_end
from fedbench.bench.shapes import SHAPES, Alone, Size, Work
from fedbench.bench.sides import OURS, PLAIN, TRAINER
from fedbench.errors import FedbenchError

pytestmark = pytest.mark.slow

_NEEDS_FLOWER = pytest.mark.skipif(not flower_is_there(), reason="the extra bench is not installed")
_FLOWER = pytest.param(FLOWER, marks=_NEEDS_FLOWER)
_SIZE = Size("2M", 32, 48, 2, 2)


def _measured(who, work, rounds=2):
    return measure_alone(Alone(who, _SIZE, SHAPES["one-word answers"], work, rounds))


@pytest.mark.parametrize("who", [PLAIN, TRAINER, _FLOWER])
def test_a_process_of_its_own_does_the_same_federation_as_ours(who):
    work = Work(sites=2, cohort=2, steps=2, batch_size=2)
    both = [_measured(OURS, work), _measured(who, work)]
    for found in both:
        assert found["steps"] == 2 * 2 * 2
        assert found["change"] > 0
        assert found["user_seconds"] > 0
        assert found["processes"] >= 1
        assert found["peak_bytes"] > 1e8  # torch alone takes more
    check_same_end(both)


@_NEEDS_FLOWER
def test_a_client_of_flower_that_fails_ends_the_simulation():
    nothing_to_train_on = Work(sites=2, cohort=2, steps=0, batch_size=2)
    with pytest.raises(FedbenchError, match="A client of Flower failed"):
        _measured(FLOWER, nothing_to_train_on)
