"""Words: invented ones, pronounceable and the same for the same seed, and synonyms of others."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

ONSETS = "b br d dr f fl g gl gr k kl kr m n p pl pr qu s sk sl t tr v vl w x z zh".split()
VOWELS = "a e i o u y".split()
CODAS = "b f g k l m n p r s t v x z lm rk nd mp sk".split()

#: by word or phrase: how dialects 1, 2, ... say it. No such word can be an invented one.
Synonyms = Mapping[str, tuple[str, ...]]

MOST = 100_000  #: words of one kind; there are some three times as many


def check_knobs(knobs: Any) -> None:
    """Refuse sizes below one and shares outside 0 to 1 in a dataclass of knobs.

    Raises:
        ValueError: naming the knob, what was given and what is allowed.
    """
    for knob in fields(knobs):
        value = getattr(knobs, knob.name)
        if knob.type == "float" and not 0 <= value <= 1:
            raise ValueError(f"{knob.name} = {value!r} is no share (allowed: 0 to 1)")
        if knob.type == "int" and knob.name != "seed" and (value < 1 or value != int(value)):
            raise ValueError(f"{knob.name} = {value!r} is no size (allowed: 1, 2, ...)")


def invent(
    random: np.random.Generator, count: int, ending: str = "", taken: Collection[str] = ()
) -> list[str]:
    """``count`` new words of two syllables and an ``ending``, none of them ``taken``.

    Raises:
        ValueError: so many are asked for that finding new ones would take for ever.
    """
    if count > MOST:
        raise ValueError(f"{count} invented words are too many (at most {MOST})")
    words: dict[str, None] = {}
    while len(words) < count:
        word = _word(random) + ending
        if word not in taken:
            words[word] = None
    return list(words)


def dialects_of(synonyms: Synonyms) -> int:
    """How many dialects there are, with the original."""
    return 1 + min(map(len, synonyms.values()))


def replaced(synonyms: Synonyms, dialect: int, text: str) -> str:
    """``text`` with every whole word that has synonyms as ``dialect`` says it; 0: as it is."""
    if not dialect:
        return text
    listed = "|".join(map(re.escape, sorted(synonyms, key=len, reverse=True)))
    return re.sub(rf"\b(?:{listed})\b", lambda found: synonyms[found[0]][dialect - 1], text)


def _word(random: np.random.Generator) -> str:
    parts = (ONSETS, VOWELS, CODAS, VOWELS, CODAS)
    return "".join(part[random.integers(len(part))] for part in parts)
