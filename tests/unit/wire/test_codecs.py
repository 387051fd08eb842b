"""Codecs: what they save, what they lose, and that nothing escapes them by its name."""

from __future__ import annotations

import math
import re
from functools import partial

import numpy as np
import pytest
import torch

from fedbench.errors import FedbenchError
from fedbench.wire import body_of, packed, schema_of
from fedbench.wire.codecs import STAGES, Codec, canonical, codec_of
from fedbench.wire.codecs.stage import Coded, Stage
from fedbench.wire.feedback import compressed

#: names and shapes of real adapters: LoRA, IA3, full weights
LORA = {"m.q_proj.lora_A.default.weight": (16, 96), "m.q_proj.lora_B.default.weight": (96, 16)}
IA3 = {"m.k_proj.ia3_l.default": (96, 1), "m.down_proj.ia3_l.default": (1, 256)}
FULL = {"m.embed_tokens.weight": (100, 96), "m.norm.weight": (96,)}
KINDS = {"lora": LORA, "ia3": IA3, "full": FULL}
TEXTS = [
    *STAGES,
    *("top-k:share=0.1+int8", "low-rank:rank=2+int4", "top-k+fp16", "low-rank+top-k:share=0.5"),
]


def drawn(shapes, seed=0, scale=1e-3):
    random = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=random) * scale for name, shape in shapes.items()}


def random(seed=0):
    return np.random.default_rng(seed)


def sent(codec, tensors, seed=0):
    """What comes out at the other end, through bytes."""
    codec = codec_of(codec) if isinstance(codec, str) else codec
    schema = schema_of(tensors)
    return body_of(packed(codec.encode(tensors, random(seed)), codec, schema), codec, schema)


def flat(tensors):
    return torch.cat([tensors[name].reshape(-1) for name in sorted(tensors)])


def error(codec, tensors):
    """Relative error of one round trip."""
    whole = flat(tensors)
    return float((flat(sent(codec, tensors)) - whole).norm() / whole.norm())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", TEXTS)
def test_every_codec_gives_back_tensors_of_the_same_names_and_shapes(text, kind):
    tensors = drawn(KINDS[kind])
    found = sent(text, tensors)
    assert {n: t.shape for n, t in found.items()} == {n: t.shape for n, t in tensors.items()}
    assert all(t.dtype == torch.float32 for t in found.values())


@pytest.mark.parametrize("text", TEXTS)
def test_the_body_is_as_long_as_the_layout_says(text):
    tensors, codec = drawn(LORA | IA3 | FULL), codec_of(text)
    schema = schema_of(tensors)
    assert len(packed(codec.encode(tensors, random()), codec, schema)) == codec.n_bytes(schema)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("shape", [(0,), (0, 5), (1,), (), (7,), (3, 1), (129,), (1, 2, 3)])
def test_odd_shapes_go_through(text, shape):
    tensors = {"w": torch.full(shape, 0.5)}
    found = sent(text, tensors)["w"]
    assert found.shape == shape
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("text", TEXTS)
def test_zeros_come_back_as_zeros(text):
    found = sent(text, {"w": torch.zeros(40, 30), "v": torch.zeros(5)})
    assert not any(tensor.any() for tensor in found.values())


@pytest.mark.parametrize("text", [text for text in TEXTS if "low-rank" not in text])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_not_finite_at_the_other_end(text, bad):
    """So that a server can refuse it."""
    tensors = drawn(LORA)
    tensors["m.q_proj.lora_B.default.weight"][3, 3] = bad
    assert not torch.isfinite(flat(sent(text, tensors))).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_sketch_of_what_is_not_finite_is_not_finite(bad):
    tensors = drawn({"w": (60, 60)})
    tensors["w"][3, 3] = bad
    assert not torch.isfinite(sent("low-rank", tensors)["w"]).all()


#: sketches and numbers of different scale compete for places in one that is made of both
@pytest.mark.parametrize("text", [text for text in TEXTS if text != "low-rank+top-k:share=0.5"])
def test_scaling_what_is_sent_scales_what_is_received(text):
    tensors = drawn(FULL)
    twice = {name: tensor * 2 for name, tensor in tensors.items()}
    torch.testing.assert_close(flat(sent(text, twice)), 2 * flat(sent(text, tensors)),
                               rtol=1e-3, atol=1e-7)  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_the_same_seed_gives_the_same_bytes(text):
    tensors, codec = drawn(FULL), codec_of(text)
    schema = schema_of(tensors)
    one, two = (packed(codec.encode(tensors, random(5)), codec, schema) for _ in range(2))
    assert one == two


# What a codec saves and what it loses, in closed form or within known bounds.


@pytest.mark.parametrize(("text", "bits"), [("fp16", 11), ("bf16", 8)])
def test_half_width_loses_no_more_than_its_precision(text, bits):
    tensors = drawn(FULL)
    found, whole = flat(sent(text, tensors)), flat(tensors)
    # Below 6e-5, fp16 is subnormal and has an absolute precision.
    assert ((found - whole).abs() <= whole.abs() * 2.0**-bits + 2.0**-25).all()


@pytest.mark.parametrize(("text", "levels"), [("int8", 127), ("int4", 7)])
def test_a_quantised_number_lies_within_a_level_of_what_was_sent(text, levels):
    block = {"int8": 256, "int4": 128}[text]
    whole = torch.randn(block * 4, generator=torch.Generator().manual_seed(1))
    found = sent(text, {"w": whole})["w"]
    step = whole.view(-1, block).abs().amax(1, keepdim=True) / levels
    assert ((found - whole).view(-1, block).abs() <= step * (1 + 1e-5)).all()
    assert len(torch.unique(found[:block])) <= 2 * levels + 1


@pytest.mark.parametrize("text", ["int8", "int4"])
def test_rounding_is_right_on_average(text):
    whole = torch.tensor([0.3, -0.77, 0.011, 0.5, 1.0, -1.0, 0.0, 0.123])
    mean = torch.stack([sent(text, {"w": whole}, seed)["w"] for seed in range(4000)]).mean(0)
    step = 1 / {"int8": 127, "int4": 7}[text]
    assert ((mean - whole).abs() < 5 * step / 2 / 4000**0.5).all()


def test_a_block_with_a_large_number_harms_only_itself():
    whole = torch.ones(512) * 0.01
    whole[0] = 1e4
    found = sent("int8", {"w": whole})["w"]
    torch.testing.assert_close(found[256:], whole[256:], rtol=0.01, atol=0)
    assert (found[1:256] - 0.01).abs().max() > 0.005


def test_negative_and_positive_nibbles_share_a_byte():
    whole = torch.tensor([7.0, -7, 1, -1, 0, 3, -5])
    assert sent("int4", {"w": whole})["w"].tolist() == whole.tolist()


def test_top_k_keeps_the_largest_of_all_tensors_together():
    tensors = {"a": torch.tensor([5.0, 0.1, -7]), "b": torch.tensor([[0.2], [-6.0]])}
    found = sent("top-k:share=0.6", tensors)
    assert found["a"].tolist() == [5, 0, -7]
    assert found["b"].tolist() == [[0], [-6]]


def test_a_sign_is_received_with_the_mean_magnitude_of_its_tensor():
    tensors = {"a": torch.tensor([1.0, -2, 3]), "b": torch.tensor([-0.5])}
    found = sent("sign", tensors)
    assert found["a"].tolist() == [2, -2, 2]
    assert found["b"].tolist() == [-0.5]


def test_a_matrix_of_few_ranks_comes_through_its_sketch_and_vectors_as_they_are():
    left, right = drawn({"u": (50, 3)}, 1)["u"], drawn({"v": (3, 70)}, 2)["v"]
    tensors = {"w": left @ right, "b": torch.randn(70)}
    found = sent("low-rank:rank=3", tensors)
    torch.testing.assert_close(found["w"], tensors["w"], rtol=1e-4, atol=1e-9)
    assert torch.equal(found["b"], tensors["b"])
    assert codec_of("low-rank:rank=3").n_bytes(schema_of(tensors)) == 4 * (3 * (50 + 70) + 70)


def test_a_sketch_is_nearly_the_best_of_its_rank():
    matrix = torch.randn(60, 80, generator=torch.Generator().manual_seed(3))
    matrix = matrix * torch.linspace(1, 0.1, 80)
    best = torch.linalg.svdvals(matrix)[4:].norm()
    assert (sent("low-rank:rank=4", {"w": matrix})["w"] - matrix).norm() < 1.1 * best


# At the size of real adapters.

#: LoRA of rank 16 on q and v of 8 layers of width 512: 1 MB
ONE_MEGABYTE = {
    f"layers.{layer}.{module}.lora_{half}.default.weight": shape
    for layer in range(8)
    for module in ("q_proj", "v_proj")
    for half, shape in (("A", (16, 512)), ("B", (512, 16)))
}
#: the same on Llama 2 7B (Touvron et al., arXiv:2307.09288), two of its layers
SEVEN_BILLION = {
    f"layers.{layer}.{module}.lora_{half}.default.weight": shape
    for layer in range(2)
    for module, (width, out) in {
        **dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj"), (4096, 4096)),
        **dict.fromkeys(("gate_proj", "up_proj"), (4096, 11008)),
        "down_proj": (11008, 4096),
    }.items()
    for half, shape in (("A", (16, width)), ("B", (out, 16)))
}


def times_fewer(text, shapes):
    tensors = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    schema = schema_of(tensors)
    return codec_of("fp32").n_bytes(schema) / codec_of(text).n_bytes(schema)


@pytest.mark.parametrize(
    ("text", "shapes", "least"),
    [
        ("fp16", ONE_MEGABYTE, 2),
        ("int8", ONE_MEGABYTE, 3.8),
        ("int8", SEVEN_BILLION, 3.9),
        ("int4", ONE_MEGABYTE, 7),
        ("int4", SEVEN_BILLION, 7),
        ("top-k:share=0.01", ONE_MEGABYTE, 30),
        ("top-k:share=0.01+int8", ONE_MEGABYTE, 75),
        ("sign", ONE_MEGABYTE, 31),
    ],
)
def test_bytes_are_saved_as_promised(text, shapes, least):
    assert times_fewer(text, shapes) >= least


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["fp16", "bf16", "int8", "int4", "sign"])
def test_no_tensor_escapes_a_codec_by_its_name(text, kind):
    check_shrinks_all(codec_of(text), KINDS[kind])


def check_shrinks_all(codec, shapes):
    """Every tensor by itself must take fewer bytes than it has."""
    for name, shape in shapes.items():
        schema = ((name, shape),)
        assert codec.n_bytes(schema) < 0.6 * 4 * math.prod(shape), f"{name} is not compressed"


def test_quantisation_that_matches_no_key_of_an_adapter_is_caught():
    """FederatedScope quantises only what is called fc or conv, and so nothing of LoRA."""
    real = codec_of("int8").stages[0]

    def encode(tensors, random):
        chosen = {n: t for n, t in tensors.items() if "fc" in n or "conv" in n}
        others = {n: t for n, t in tensors.items() if n not in chosen}
        return Coded({}, {**real.encode(chosen, random).parts, **others})

    silent = Codec("int8", (Stage(encode, real.decode),))
    check_shrinks_all(silent, {"conv.weight": (64, 64)})
    with pytest.raises(AssertionError, match=r"lora_A.* is not compressed"):
        check_shrinks_all(silent, LORA)


# Error feedback.


def after(text, rounds, update):
    """The sum of what is received of the same update, sent so many times."""
    codec, owed, total = codec_of(text), {}, None
    for round_ in range(rounds):
        parts, owed = compressed(codec, update, owed, random(round_))
        got = flat(codec.decode(parts, schema_of(update)))
        total = got if total is None else total + got
    return total, owed


@pytest.mark.parametrize("text", ["ef+top-k:share=0.1", "ef+sign", "ef+int4", "ef+low-rank:rank=1"])
def test_what_was_received_and_what_is_owed_add_up_to_what_was_meant(text):
    update = drawn(FULL, scale=1)
    total, owed = after(text, 7, update)
    torch.testing.assert_close(total + flat(owed), 7 * flat(update), rtol=1e-4, atol=1e-4)


def test_with_feedback_small_numbers_arrive_in_time_and_without_it_never():
    update = {"w": torch.tensor([1.0, 0.3, 0.3, 0.3])}
    assert (after("ef+top-k:share=0.25", 40, update)[0] > 0).all()
    assert after("top-k:share=0.25", 40, update)[0].tolist() == [40, 0, 0, 0]


def test_what_is_owed_of_tensors_that_take_no_turn_stays_owed():
    codec = codec_of("ef+top-k:share=0.5")
    _, owed = compressed(codec, {"a": torch.tensor([2.0, 1.0])}, {}, random())
    _, later = compressed(codec, {"b": torch.tensor([4.0, 3.0])}, owed, random())
    assert later["a"].tolist() == [0, 1]
    assert later["b"].tolist() == [0, 3]


def test_without_feedback_nothing_is_owed():
    assert compressed(codec_of("top-k"), drawn(LORA), {}, random())[1] == {}


# Names.


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("top-k:share=0.010+int8:block=256", "top-k+int8"),
        ("ef+top-k:share=0.02+fp32", "ef+top-k:share=0.02"),
        ("delta", "delta+fp32"),
        ("ef+fp32", "ef+fp32"),
        ("int4:block=64", "int4:block=64"),
    ],
)
def test_equal_codecs_have_one_name(text, name):
    assert canonical(text) == codec_of(text).name == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fp8", "'fp8' is not known"),
        ("", "'' is not known"),
        ("int8+top-k", "int8 leaves nothing for top-k"),
        ("int8+ef", "'ef' is not known"),
        ("ef+ef+int8", "'ef' is not known"),
        ("top-k:share=0", "share = 0 must be above 0"),
        ("top-k:share=2", "at most 1"),
        ("int8:block=100", "block = 100 must be a power of two"),
        ("low-rank:rank=1.5", "rank = 1.5 must be a whole number"),
        ("top-k:k=5", "top-k has no option 'k'"),
    ],
)
def test_a_codec_without_a_meaning_is_refused_with_a_reason(text, reason):
    with pytest.raises(FedbenchError, match=re.escape(f"codec = {text!r}: ")) as caught:
        codec_of(text)
    assert reason in str(caught.value)


def test_what_cannot_be_added_says_so():
    additive = partial(lambda text: codec_of(text).additive)
    assert {text: additive(text) for text in STAGES} == {
        **dict.fromkeys(("fp32", "fp16", "bf16", "int8", "int4"), True),
        **dict.fromkeys(("top-k", "sign", "low-rank"), False),
    }
    assert not additive("top-k+int8")
