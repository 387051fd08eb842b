"""Masks: as many pseudorandom words as a vector has, added to it modulo the size of a word.

The generator is AES-256 in counter mode, whose key is used for one mask and never again, so that
the counter may begin at zero. Words are little-endian on every machine.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

#: of 32 or 64 bits, unsigned: sums wrap
Words = NDArray[Any]
Sign = Literal[1, -1]
#: bytes made at a time: what fits a core's own cache beside the piece of the vector
_CHUNK = 1 << 17
#: bytes of zeros that every vector ends with before it is masked: a mask that stays on a sum shows
#: in them, but once in 2^128
TAIL = 16
_ZEROS = memoryview(bytes(_CHUNK))


def shift(words: Words, key: bytes, sign: Sign) -> None:
    """Add the mask of ``key`` to ``words``, or subtract it, in place.

    Args:
        words: contiguous, little-endian, unsigned.
        key: 32 bytes, of no other mask.
    """
    stream = Cipher(AES(key), CTR(bytes(16))).encryptor()
    chunk = np.empty(_CHUNK // words.itemsize, words.dtype)
    operation = np.add if sign > 0 else np.subtract
    for start in range(0, len(words), len(chunk)):
        piece = words[start : start + len(chunk)]
        made = chunk[: len(piece)]
        stream.update_into(_ZEROS[: made.nbytes], made.data.cast("B"))
        operation(piece, made, out=piece)


def sign_of(site: str, other: str) -> Sign:
    """How a site uses the mask that it has in common with another: one adds, one subtracts."""
    return 1 if site < other else -1
