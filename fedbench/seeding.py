"""Torch's global state, lent and given back: its generator and its number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def single_thread() -> Iterator[None]:
    """Let torch compute with one thread inside the block: sums then have one order everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators inside the block and restore them afterwards.

    For libraries that can only draw from a global generator: peft's initialisation, dropout.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
