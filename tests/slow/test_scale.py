"""A thousand sites take no more memory than ten, and a sampled site no more work."""

from __future__ import annotations

import pytest

from fedbench.bench.scale import FLAT_MEMORY, measure, table

pytestmark = pytest.mark.slow


def test_memory_is_flat_in_the_number_of_sites():
    found = measure(counts=(10, 1_000), repeats=1, examples=2_000)
    assert found["growth"]["peak"] <= FLAT_MEMORY
    assert found["growth"]["peak_of_rounds"] <= FLAT_MEMORY
    assert [row["processed"] for row in found["rows"]] == pytest.approx([2560, 2560], rel=0.2)
    assert "1,000" in "\n".join(table(found))
