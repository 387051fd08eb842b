from __future__ import annotations

import pytest

from fedbench.errors import FedbenchError
from fedbench.report.shapes import KNOWN, Shape, from_config, here, shape_of

TOY = Shape(
    hidden=8, between=16, layers=2, heads=4, key_heads=2, head=2, vocabulary=10, tied=True,
    bias=False,
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512),
        ("mistralai/Mistral-7B-Instruct-v0.3", 7_248_023_552),
        ("meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248),
        ("HuggingFaceTB/SmolLM2-135M", 134_515_008),
        ("Qwen/Qwen2.5-0.5B", 494_032_768),
        ("meta-llama/Llama-2-7b-hf", 6_738_415_616),
        ("meta-llama/Llama-2-13b-hf", 13_015_864_320),
        ("meta-llama/Llama-2-70b-hf", 68_976_648_192),
    ],
)
def test_a_shape_gives_the_number_of_parameters_that_its_repository_states(name, parameters):
    assert KNOWN[name].parameters == parameters


@pytest.mark.parametrize(
    ("name", "parameters"), [("fedbench-llama", 3_000_384), ("fedbench-qwen2", 2_756_224)]
)
def test_a_built_in_backbone_is_counted_from_its_own_configuration(name, parameters):
    assert shape_of(name).parameters == parameters


def test_the_weights_of_a_toy_are_those_counted_by_hand():
    # a block: q 8x8, k and v 8x4 each, o 8x8, three of 8x16
    assert TOY.linear == 2 * (64 + 32 + 32 + 64 + 3 * 128)
    assert TOY.parameters == TOY.linear + 5 * 8 + 10 * 8


def test_a_method_trains_what_its_paper_says():
    assert TOY.trainable("lora", 3) == 2 * 3 * (16 + 12 + 12 + 16 + 24 + 24 + 24)
    assert TOY.trainable("qlora", 3) == TOY.trainable("lora", 3)
    assert TOY.trainable("ia3", 3) == 2 * (4 + 4 + 16)
    assert TOY.trainable("full", 3) == TOY.parameters


def test_heads_are_as_many_for_keys_where_the_configuration_does_not_say():
    config = {
        "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 4, "vocab_size": 10,
    }  # fmt: skip
    assert from_config(config).key_heads == 4
    assert not from_config(config).tied


def test_a_backbone_of_the_hub_is_not_here_and_its_revision_does_not_matter_to_its_size():
    assert here("Qwen/Qwen2.5-0.5B@0123") is None
    assert shape_of("Qwen/Qwen2.5-0.5B@0123") == KNOWN["Qwen/Qwen2.5-0.5B"]


def test_a_backbone_of_unknown_size_is_refused_with_the_remedy():
    with pytest.raises(FedbenchError, match="add its shape"):
        shape_of("someone/something")
