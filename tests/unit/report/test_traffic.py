"""Bytes that are computed are those that payloads really have."""

from __future__ import annotations

from statistics import mean

import pytest
import torch

import fedbench
from fedbench import resolve
from fedbench.config import PartitionConfig, RunConfig
from fedbench.errors import FedbenchError
from fedbench.models.attached import attached
from fedbench.models.tensors import trained_tensors
from fedbench.report.shapes import KNOWN, shape_of
from fedbench.report.traffic import (
    ATTENTION,
    LINKS,
    SITES,
    _tensor,
    body,
    schema_of,
    traffic,
    traffic_table,
)
from fedbench.wire.codecs import codec_of
from fedbench.wire.schema import count
from fedbench.wire.schema import schema_of as schema_in

SEVEN = KNOWN["meta-llama/Llama-2-7b-hf"]
EVERY_CODEC = [
    *("fp32", "fp16", "int8", "int4", "sign", "low-rank", "low-rank+int4"),
    *("top-k:share=0.01", "top-k:share=0.01+int8"),
]


SMALL = {
    **{"task": "lookalike_fpb", "partition": PartitionConfig(sites=2), "rounds": 3, "passes": 1},
    **{"train_limit": 12, "validation_limit": 4, "test_limit": 2, "generated": 0},
}


@pytest.mark.parametrize(
    ("method", "codec", "down"),
    [
        ("ia3", "fp32", "fp32"),
        ("ia3", "ef+int4", "int8"),
        ("lora", "int8", "delta+int8"),
        ("lora", "ef+top-k:share=0.02+int8", "fp16"),
        ("lora", "ef+sign", "delta+int4"),
    ],
)
def test_what_is_computed_is_what_a_run_sent_to_two_in_a_hundred(method, codec, down):
    config = RunConfig(**SMALL, method=method, codec=codec, codec_down=down)
    log = fedbench.run(config).rounds
    told = traffic(schema_of(shape_of("fedbench-llama"), method), codec, down)
    up, heard, scored = (
        [record[f"bytes_{way}"] / 2 for record in log] for way in ("up", "down", "validation")
    )
    assert told.up == pytest.approx(mean(up), rel=0.02)
    if not down.startswith("delta"):
        assert told.down == pytest.approx(mean(heard[1:]), rel=0.02)
    assert told.validation == pytest.approx(mean(scored), rel=0.02)
    assert told.total(2, 3) == pytest.approx(2 * sum(map(sum, (up, heard, scored))), rel=0.02)


@pytest.mark.parametrize("method", ["lora", "ia3", "full"])
def test_the_tensors_of_a_method_are_those_that_it_really_trains(method):
    with attached(resolve(RunConfig(task="lookalike_fpb", method=method))) as model:
        trained = trained_tensors(model)
    assert schema_of(shape_of("fedbench-llama"), method) == schema_in(trained)


@pytest.mark.parametrize(("method", "rank"), [("lora", 16), ("lora", 4), ("ia3", 1), ("full", 1)])
@pytest.mark.parametrize("name", [name for name in KNOWN if "Llama-2" in name])
def test_a_method_has_as_many_numbers_as_its_formula_says(name, method, rank):
    assert count(schema_of(KNOWN[name], method, rank)) == KNOWN[name].trainable(method, rank)


def test_lora_beside_queries_and_values_has_as_many_numbers_as_its_paper_says():
    # 32 layers, two projections of 4096 x 4096, 8 ranks of both sides
    assert count(schema_of(SEVEN, "lora", 8, ATTENTION)) == 32 * 2 * 8 * 2 * 4096


@pytest.mark.parametrize("codec", EVERY_CODEC)
@pytest.mark.parametrize("shape", [(2048, 1024), (3000, 700), (65536, 16), (40,), (16, 9000)])
def test_a_matrix_asked_for_in_part_takes_the_bytes_of_the_whole(codec, shape):
    whole = codec_of(codec).n_bytes((("", shape),))
    assert _tensor(codec_of(codec), shape) == pytest.approx(whole, rel=0.001)


def test_top_k_of_all_numbers_is_less_by_one_for_each_tensor_at_most():
    schema = (("a", (30, 7)), ("b", (11,)), ("c", (5, 5)))
    codec = codec_of("top-k:share=0.1")
    assert 0 <= body(codec, schema) - codec.n_bytes(schema) <= 8 * len(schema)


def test_top_k_cannot_tell_the_places_of_seven_billion_numbers():
    with pytest.raises(FedbenchError, match="top-k"):
        traffic(schema_of(SEVEN, "full"), "ef+top-k", "fp32")


def test_fp32_takes_four_bytes_a_number_and_a_link_as_long_as_its_bits():
    frame = traffic_table(rounds=7)
    row = frame[frame["codec"] == "fp32"].iloc[-1]
    assert row["bytes_up"] == pytest.approx(4 * row["numbers"], rel=1e-6)
    each = row["bytes_up"] + row["bytes_down"] + row["bytes_validation"]
    assert row["seconds_1_gbit"] == pytest.approx(8 * each / 1e9)
    assert row["seconds_10_mbit"] == pytest.approx(8 * each / 1e7)
    assert row["gigabytes_all"] * 1e9 == pytest.approx(SITES * (7 * each + row["bytes_once"]))
    assert len(LINKS) == 3


def test_the_schema_and_the_whole_adapter_are_counted_once():
    schema = schema_in({"a": torch.zeros(100, 8)})
    plain, changes = (traffic(schema, "int8", down) for down in ("int8", "delta+int8"))
    assert changes.down < plain.down / 2
    assert changes.once - plain.once == pytest.approx(3200, abs=5)  # fp32 in place of a change
    assert plain.total(3, 5) == 3 * (5 * plain.round + plain.once)
