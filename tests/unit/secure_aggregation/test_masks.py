"""Masks: known words, added and taken off again, in pieces as in one."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from fedbench.secure_aggregation.masks import shift, sign_of

KEY = bytes(range(32))


@pytest.mark.parametrize("dtype", ["<u4", "<u8"])
@pytest.mark.parametrize("length", [0, 1, 7, 32_768, 100_003])
def test_a_mask_is_one_stream_of_aes_256_in_counter_mode_however_long(length, dtype):
    size = length * np.dtype(dtype).itemsize
    stream = Cipher(AES(KEY), CTR(bytes(16))).encryptor().update(bytes(size))
    words = np.zeros(length, dtype)
    shift(words, KEY, 1)
    assert words.tobytes() == stream


@pytest.mark.parametrize("dtype", ["<u4", "<u8"])
def test_what_is_added_is_taken_off_again(dtype):
    words = np.arange(100_000, dtype=dtype)
    shift(words, KEY, 1)
    assert (words != np.arange(100_000, dtype=dtype)).mean() > 0.99
    shift(words, KEY, -1)
    assert words.tolist() == list(range(100_000))


def test_of_two_sites_one_adds_and_the_other_subtracts():
    assert sign_of("a", "b") == -sign_of("b", "a")
