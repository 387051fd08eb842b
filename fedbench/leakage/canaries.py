"""Canaries: questions with an answer drawn at random, which can only be known by heart.

Whether a canary is inserted is a coin flip, and its answer is drawn anew for every model, so that
without it every rank is equally likely, whatever answers a model prefers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedbench.leakage.measures import epsilon_of_guesses
from fedbench.leakage.membership import Bools, Floats
from fedbench.streams import generator

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Guesses:
    """How often an attack that may stay silent was right about who was inserted."""

    right: int
    made: int
    trials: int  #: coins flipped, also those about which nothing was said


def draw_answers(shadows: int, canaries: int, candidates: int, seed: int) -> Ints:
    """Index of every canary's answer among the candidates, shape (shadows, canaries)."""
    rows = [
        generator("canaries", seed, k).integers(candidates, size=canaries) for k in range(shadows)
    ]
    return np.array(rows, dtype=np.int64)


def exposures(losses: Floats, answers: Ints) -> Floats:
    """log2 |R| - log2 rank of every canary's answer among all candidates, in bits.

    Carlini et al. (arXiv:1802.08232, section 4, definition 4), with R the candidates. Of equal
    losses the last rank counts, so that a model that tells nothing apart exposes nothing.

    Args:
        losses: of every candidate after the canary's question, shape (canaries, candidates).
        answers: index of the canary's answer, shape (canaries,).
    """
    own = losses[np.arange(len(answers)), answers]
    ranks = (losses <= own[:, None]).sum(axis=1)
    bits: Floats = np.log2(losses.shape[1]) - np.log2(ranks)
    return bits


def thresholds(candidates: int) -> tuple[float, ...]:
    """Exposures to test at that no score decides: rank 1, 2, 4, ... of the candidates."""
    whole = math.log2(candidates)
    return tuple(whole - power for power in range(int(whole) + 1))


def epsilon_of_exposures(
    found: Floats, inserted: Bools, candidates: int, delta: float, confidence: float
) -> float:
    """Lower bound on epsilon, the unit of privacy being one example, from :func:`guesses`.

    See :func:`fedbench.leakage.measures.epsilon_of_guesses`.
    """
    told = guesses(found, inserted, candidates)
    return epsilon_of_guesses(told.right, told.made, told.trials, delta, confidence)


def guesses(found: Floats, inserted: Bools, candidates: int) -> Guesses:
    """What exposures say of who was inserted.

    An answer that ranks first is guessed to have been inserted, one in the worse half not to have
    been; nothing is guessed between.
    """
    said_in = found > math.log2(candidates) - 0.5
    said_out = found < 1
    right = int((said_in & inserted).sum() + (said_out & ~inserted).sum())
    return Guesses(right, int(said_in.sum() + said_out.sum()), found.size)
