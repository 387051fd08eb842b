"""Invented words: pronounceable, distinct, and the same for the same seed."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

ONSETS = "b br d dr f fl g gl gr k kl kr m n p pl pr qu s sk sl t tr v vl w x z zh".split()
VOWELS = "a e i o u y".split()
CODAS = "b f g k l m n p r s t v x z lm rk nd mp sk".split()


def invent(
    random: np.random.Generator, count: int, ending: str = "", taken: Collection[str] = ()
) -> list[str]:
    """``count`` new words of two syllables and an ``ending``, none of them ``taken``."""
    words: dict[str, None] = {}
    while len(words) < count:
        word = _word(random) + ending
        if word not in taken:
            words[word] = None
    return list(words)


def _word(random: np.random.Generator) -> str:
    parts = (ONSETS, VOWELS, CODAS, VOWELS, CODAS)
    return "".join(part[random.integers(len(part))] for part in parts)
