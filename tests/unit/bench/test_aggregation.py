"""What a server needs for many large adapters: small here, but the same code."""

from __future__ import annotations

import pytest

from fedbench.bench import aggregation
from fedbench.models.tensors import count


def test_an_adapter_of_all_layers_has_the_forty_million_numbers_of_rank_16_on_llama_2_7b():
    layer = count(aggregation.adapter(1))
    assert layer == 16 * (4 * 2 * 4096 + 3 * (4096 + 11008))
    assert 32 * layer == pytest.approx(40e6, rel=0.01)


def test_fedavg_with_the_spread_keeps_three_adapters_beside_the_state_and_not_one_per_site(
    monkeypatch,
):
    monkeypatch.setattr(aggregation, "FACTORING", ())
    found = aggregation.measure(sites=16, layers=4, repeats=1)
    assert found["peak_in_adapters"] < 3
    assert found["share_of_copy"] == pytest.approx(
        found["fedavg_bytes_per_second"] / found["copy_bytes_per_second"]
    )
    assert any("in one pass" in line for line in aggregation.table(found))
