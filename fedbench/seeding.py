"""Torch's global generator, lent and given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators inside the block and restore them afterwards.

    For libraries that can only draw from a global generator: peft's initialisation, dropout.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
