"""Named streams of random numbers: every draw has a name, and no draw disturbs another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import numpy as np

#: numbers from [0, 1), all equally likely, so many, in fp64
Uniform = Callable[[int], "np.ndarray[tuple[int], np.dtype[np.float64]]"]


def generator(name: str, *key: int | str) -> np.random.Generator:
    """The generator of the stream ``name`` at ``key``, such as ``("batches", seed, round, site)``.

    The same name and key give the same numbers on every machine; a different name or key gives
    numbers that are independent of them.
    """
    return np.random.default_rng(int.from_bytes(_digest(name, *key), "big"))


def uniform(name: str, *key: int | str) -> Uniform:
    """What the generator of the stream ``name`` at ``key`` gives, call after call."""
    random = generator(name, *key)
    return lambda count: random.random(count)


def seed_of(name: str, *key: int | str) -> int:
    """A 63-bit seed of the stream ``name`` at ``key``, for libraries that want a number."""
    return int.from_bytes(_digest(name, *key)[:8], "big") >> 1


def _digest(name: str, *key: int | str) -> bytes:
    return hashlib.sha256(json.dumps([name, *key]).encode()).digest()
