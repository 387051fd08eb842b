"""Payloads come out as they went in, or not at all."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch

from fedbench.wire import _MAGIC, BadPayload, decode, encode
from fedbench.wire.codecs import CODECS

HEADER = {"kind": "train", "round": 3, "progress": [0.1, 1 / 3], "site": "sité"}


def tensors():
    generator = torch.Generator().manual_seed(0)
    return {
        "b": torch.randn(3, 5, generator=generator),
        "a.weight": torch.randn(4, generator=generator),
        "scalar": torch.tensor(1e-42),
        "odd": torch.tensor([float("nan"), float("inf"), -0.0]),
        "empty": torch.zeros(0, 2),
    }


def bits(tensor):
    return tensor.view(torch.int32).tolist()


def test_fp32_tensors_and_header_survive_bit_for_bit():
    header, found = decode(encode(HEADER, tensors()))
    assert header == {**HEADER, "codec": "fp32"}
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert found[name].shape == tensor.shape
        assert bits(found[name]) == bits(tensor)


def test_fp16_halves_the_bytes_and_loses_no_more_than_half_precision():
    whole = {"w": torch.linspace(-2, 2, 4096)}
    assert len(encode({}, whole)) - len(encode({}, whole, "fp16")) == pytest.approx(8192, abs=64)
    _, found = decode(encode({}, whole, "fp16"))
    assert found["w"].dtype == torch.float32
    assert bits(found["w"]) == bits(whole["w"].half().float())


@pytest.mark.parametrize("codec", CODECS)
def test_what_a_codec_gives_back_it_sends_unchanged(codec):
    """Otherwise an adapter would drift by being passed on."""
    _, once = decode(encode({}, {"w": torch.randn(50)}, codec))
    _, twice = decode(encode({}, once, codec))
    assert bits(once["w"]) == bits(twice["w"])


def test_the_same_content_is_the_same_bytes_in_any_order():
    backwards = dict(reversed(tensors().items()))
    assert encode(HEADER, tensors()) == encode(dict(reversed(HEADER.items())), backwards)


def test_tensors_that_are_views_or_shared_are_sent_as_their_values():
    base = torch.arange(12.0).reshape(3, 4)
    sent = {"whole": base, "same": base, "turned": base.T, "row": base[1]}
    _, found = decode(encode({}, sent))
    for name, tensor in sent.items():
        assert torch.equal(found[name], tensor)


def test_a_payload_without_tensors_is_a_payload():
    assert decode(encode({"n": 1}, {})) == ({"n": 1, "codec": "fp32"}, {})


def test_a_payload_cut_anywhere_is_refused():
    payload = encode(HEADER, tensors())
    for size in range(len(payload)):
        with pytest.raises(BadPayload):
            decode(payload[:size])


def test_a_payload_with_a_byte_flipped_anywhere_is_refused():
    payload = encode({"n": 1}, {"w": torch.ones(2)})
    for position in range(len(payload)):
        damaged = bytearray(payload)
        damaged[position] ^= 0x10
        with pytest.raises(BadPayload):
            decode(bytes(damaged))


def sealed(body):
    return _MAGIC + hashlib.sha256(body).digest() + body


def framed(header, packed=b""):
    head = json.dumps(header).encode()
    return sealed(len(head).to_bytes(4, "big") + head + packed)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"PK\x03\x04",
        b"\x80\x04]q\x00.",  # a pickle
        b"FEDB\x02" + encode({}, {})[5:],  # another version
        sealed(b""),
        sealed(b"\xff\xff\xff\xff{}"),
        sealed((2).to_bytes(4, "big") + b"\xff\xfe"),
        framed({"codec": "fp32"}),
        framed({"codec": "fp32"}, b"not safetensors"),
        framed({"codec": "unheard-of"}, encode({}, {})[-10:]),
        framed({}, encode({}, {})[-10:]),
        framed([1, 2], encode({}, {})[-10:]),
        encode({}, {"w": torch.ones(2)}) + b"more",
    ],
)
def test_foreign_bytes_are_refused_even_with_a_right_checksum(payload):
    with pytest.raises(BadPayload):
        decode(payload)
