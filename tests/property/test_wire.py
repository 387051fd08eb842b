"""Any header and any tensors survive the wire; any other bytes are refused as one kind of error."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fedbench.wire import BadPayload, decode
from fedbench.wire.frame import _MAGIC
from tests.payloads import written

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
headers = st.dictionaries(
    st.text().filter(lambda key: key not in ("codec", "schema", "layout")), values, max_size=4
)
tensors = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(
        lambda name: name != "__metadata__"
    ),
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements=st.floats(width=32),
    ).map(torch.from_numpy),
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(header=headers, sent=tensors)
def test_header_and_tensors_survive_bit_for_bit(header, sent):
    got_header, got = decode(written(header, sent), {})
    assert header.items() <= got_header.items()
    assert got.keys() == sent.keys()
    for name, tensor in sent.items():
        assert got[name].shape == tensor.shape
        assert got[name].numpy().tobytes() == tensor.numpy().tobytes()


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused_and_nothing_else_is_raised(content):
    sealed = _MAGIC + hashlib.sha256(content).digest() + content
    for payload in (content, sealed):
        try:
            decode(payload, {})
        except BadPayload:
            continue
        raise AssertionError("foreign bytes were taken for a payload")


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_damage_is_noticed(data):
    payload = written({"n": 1}, {"w": torch.arange(6.0)})
    position = data.draw(st.integers(0, len(payload) - 1))
    bit = data.draw(st.integers(0, 7))
    damaged = bytearray(payload)
    damaged[position] ^= 1 << bit
    try:
        decode(bytes(damaged), {})
    except BadPayload:
        return
    raise AssertionError("damage went unnoticed")
