"""How fast codecs are: fewer numbers here, but the same code."""

from __future__ import annotations

from statistics import median

import pytest

from fedbench.bench import coding


@pytest.fixture(scope="module")
def found():
    return coding.measure(side=512, repeats=3)


def test_every_codec_is_timed_both_ways_on_all_numbers(found):
    assert found["numbers"] == 512 * 512
    assert list(found["codecs"]) == [*coding.CODECS]
    for one in found["codecs"].values():
        assert len(one["encode_seconds"]) == len(one["decode_seconds"]) == 3
        for way in ("encode", "decode"):
            seconds = median(one[f"{way}_seconds"])
            assert one[way] * seconds == pytest.approx(4 * 512**2 / 1e6)


def test_bytes_are_those_that_a_codec_says(found):
    sizes = {name: one["bytes_per_number"] for name, one in found["codecs"].items()}
    assert sizes["fp16"] == 2
    assert sizes["int8"] == 1 + 4 / 256
    assert sizes["int4"] == 0.5 + 4 / 128


@pytest.mark.parametrize(("speed", "verdict"), [(499, "missed (499)"), (501, "met (501)")])
def test_the_target_is_for_the_slower_way(found, speed, verdict):
    int8 = found["codecs"]["int8"] | {"encode": 5000.0, "decode": speed}
    lines = coding.table({**found, "codecs": {"int8": int8}})
    assert lines[-1].endswith(verdict)
