"""Which tokens are read at which step: a pure function of the step, so runs can resume."""

import random
from functools import lru_cache

import numpy as np
import torch

from fedbench.pretraining.tokenizer import Tokens

_HELD_OUT_EVERY = 100


def window_split(tokens: Tokens, sequence: int) -> tuple[Tokens, Tokens]:
    """Cut the tokens into windows and hold out every hundredth of them."""
    windows = tokens[: len(tokens) // sequence * sequence].reshape(-1, sequence)
    is_held_out = np.arange(len(windows)) % _HELD_OUT_EVERY == 0
    return windows[~is_held_out], windows[is_held_out]


def batch_at(windows: Tokens, step: int, batch: int, seed: int) -> torch.Tensor:
    """Return the windows of one step; every pass over the corpus has an order of its own."""
    per_pass = len(windows) // batch
    order = _order(len(windows), seed, step // per_pass)
    start = step % per_pass * batch
    return as_tensor(windows[list(order[start : start + batch])])


def as_tensor(windows: Tokens) -> torch.Tensor:
    """Return token windows as the integers that a model takes."""
    return torch.from_numpy(windows.astype(np.int64))


@lru_cache(maxsize=1)
def _order(count: int, seed: int, number: int) -> tuple[int, ...]:
    order = list(range(count))
    random.Random(f"{seed}/{number}").shuffle(order)
    return tuple(order)
