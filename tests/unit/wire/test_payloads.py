"""Payloads come out as they went in, or not at all."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch

from fedbench.errors import FedbenchError
from fedbench.snapshots import joined, keep, kept, parts
from fedbench.wire import BadPayload, decode, encode, longest, schema_of
from fedbench.wire.codecs import codec_of
from fedbench.wire.frame import _MAGIC
from fedbench.wire.schema import digest, read
from tests.payloads import written

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
    header, found = decode(written(HEADER, tensors()), {})
    assert HEADER.items() <= header.items()
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert found[name].shape == tensor.shape
        assert bits(found[name]) == bits(tensor)


def test_the_same_content_is_the_same_bytes_in_any_order():
    backwards = dict(reversed(tensors().items()))
    assert written(HEADER, tensors()) == written(dict(reversed(HEADER.items())), backwards)


def test_tensors_that_are_views_or_shared_are_sent_as_their_values():
    base = torch.arange(12.0).reshape(3, 4)
    sent = {"whole": base, "same": base, "turned": base.T, "row": base[1]}
    _, found = decode(written({}, sent), {})
    for name, tensor in sent.items():
        assert torch.equal(found[name], tensor)


def test_a_payload_without_tensors_is_a_payload():
    assert decode(written({"n": 1}, {}), {}) == ({"n": 1, "codec": "fp32", "schema": ""}, {})


def test_what_is_known_is_not_told_again_and_read_all_the_same():
    schema = schema_of(tensors())
    known = {digest(schema): schema}
    codec, random = codec_of("fp32"), np.random.default_rng(0)
    first, later = (encode(HEADER, tensors(), codec, random, names) for names in ((), known))
    assert (
        len(first) - len(later) == len(json.dumps({"layout": schema})) - len("{}") + len(", ") - 0
    )
    assert decode(later, known)[1].keys() == tensors().keys()
    with pytest.raises(BadPayload, match="which nobody has told here"):
        decode(later, {})
    assert len(later) <= longest(codec, schema)


def test_more_numbers_than_have_a_meaning_are_refused_before_anything_is_made_of_them():
    huge = {"w": torch.zeros(1).expand(1000)}
    with pytest.raises(BadPayload, match="tells of 1000 numbers, and 999 are the most"):
        decode(written({}, huge), {}, most=999)
    bomb = written({}, {"w": torch.ones(2)}).replace(b"[2]", b"[2000000000000]")
    with pytest.raises(BadPayload):
        decode(resealed(bomb), {}, most=10**6)


@pytest.mark.parametrize(
    "layout", [[["x" * 1001, [1]]], [[f"x{n}", [0]] for n in range(20_001)]], ids=["name", "many"]
)
def test_a_schema_that_a_site_could_not_keep_is_refused(layout):
    """The few that it remembers are one file, which has to be read again."""
    with pytest.raises(BadPayload, match="not written by fedbench"):
        read(layout)


def test_a_payload_cut_anywhere_is_refused():
    payload = written(HEADER, tensors())
    for size in range(len(payload)):
        with pytest.raises(BadPayload):
            decode(payload[:size], {})


def test_a_payload_with_a_byte_flipped_anywhere_is_refused():
    payload = written({"n": 1}, {"w": torch.ones(2)})
    for position in range(len(payload)):
        damaged = bytearray(payload)
        damaged[position] ^= 0x10
        with pytest.raises(BadPayload):
            decode(bytes(damaged), {})


def sealed(body):
    return _MAGIC + hashlib.sha256(body).digest() + body


def resealed(payload):
    return sealed(payload[len(_MAGIC) + 32 :])


def framed(header, body=b""):
    head = json.dumps(header).encode()
    return sealed(len(head).to_bytes(4, "big") + head + body)


ONE = [["w", [1]]]
NAMED = digest((("w", (1,)),))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"PK\x03\x04",
        b"\x80\x04]q\x00.",  # a pickle
        b"FEDB\x01" + written({}, {})[5:],  # another version
        sealed(b""),
        sealed(b"\xff\xff\xff\xff{}"),
        sealed((2).to_bytes(4, "big") + b"\xff\xfe"),
        sealed((10**5).to_bytes(4, "big") + b"[" * 10**5),
        framed([1, 2]),
        framed({"codec": "fp32"}, b"more"),
        framed({}),
        framed({"codec": "unheard-of", "schema": NAMED, "layout": ONE}, bytes(4)),
        framed({"codec": None, "schema": NAMED, "layout": ONE}, bytes(4)),
        framed({"codec": "fp32", "schema": NAMED, "layout": ONE}, bytes(3)),
        framed({"codec": "fp32", "schema": NAMED, "layout": ONE}, bytes(5)),
        framed({"codec": "fp32", "schema": NAMED}, bytes(4)),
        framed({"codec": "fp32", "schema": [], "layout": ONE}, bytes(4)),
        framed({"codec": "fp32", "schema": NAMED, "layout": [["w", [-1]]]}, b""),
        framed({"codec": "fp32", "schema": NAMED, "layout": [["w", [1.0]]]}, bytes(4)),
        framed({"codec": "fp32", "schema": NAMED, "layout": [["w"]]}, bytes(4)),
        framed({"codec": "fp32", "schema": NAMED, "layout": "w"}, bytes(4)),
        framed({"codec": "fp32", "schema": NAMED, "layout": ONE * 2}, bytes(8)),
    ],
)
def test_foreign_bytes_are_refused_even_with_a_right_checksum(payload):
    with pytest.raises(BadPayload):
        decode(payload, {})


def test_places_outside_of_all_tensors_are_refused():
    payload = written({}, {"w": torch.arange(4.0)}, "top-k:share=0.25")
    body = payload[-8:]
    assert decode(payload, {})[1]["w"].tolist() == [0, 0, 0, 3]
    outside = resealed(payload.replace(body, (9).to_bytes(4, "little") + body[4:]))
    with pytest.raises(BadPayload):
        decode(outside, {})


def test_a_snapshot_is_kept_as_it_is_or_refused(tmp_path):
    path = tmp_path / "state"
    keep(path, HEADER, joined(rule=tensors(), owed={}))
    header, found = kept(path)
    assert header == HEADER
    assert parts(found)["rule"].keys() == tensors().keys()
    assert all(bits(parts(found)["rule"][n]) == bits(t) for n, t in tensors().items())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FedbenchError):
        kept(path)
    path.write_bytes(framed({}, b"not safetensors"))
    with pytest.raises(FedbenchError):
        kept(path)


@pytest.mark.parametrize("head", [b'[["n", 1]]', b'["ab"]', b"null", b"[" * 100_000, b"\xff", b"{"])
def test_a_header_that_is_no_object_is_refused(head):
    with pytest.raises(BadPayload, match="was not written by fedbench"):
        decode(sealed(len(head).to_bytes(4, "big") + head), {})
