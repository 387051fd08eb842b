"""Attacks of hostile sites: one short file each, registered here.

A configuration names one with its options, or several in a row that the same sites do together:
``sign-flip``, ``scaling:factor=8``, ``backdoor:share=0.5+scaling:factor=8``. Reading the registry
does not import torch, so that configurations are checked quickly.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from fedbench import named
from fedbench.attacks.additive_noise import additive_noise
from fedbench.attacks.attack import HONEST, Attack, together
from fedbench.attacks.backdoor import backdoor
from fedbench.attacks.label_flip import label_flip
from fedbench.attacks.not_finite import infinite, not_a_number
from fedbench.attacks.replay import replay
from fedbench.attacks.scaling import scaling
from fedbench.attacks.sign_flip import sign_flip
from fedbench.attacks.wrong_shape import wrong_shape
from fedbench.errors import FedbenchError, shown

ATTACKS: dict[str, Callable[..., Attack]] = {
    "sign-flip": sign_flip,
    "scaling": scaling,
    "additive-noise": additive_noise,
    "label-flip": label_flip,
    "backdoor": backdoor,
    "not-a-number": not_a_number,
    "infinite": infinite,
    "wrong-shape": wrong_shape,
    "replay": replay,
}
NONE = "none"  #: what a configuration without an attack says

__all__ = [
    "ATTACKS",
    "HONEST",
    "NONE",
    "Attack",
    "attack_of",
    "canonical",
    "parts_of",
    "wrong_with",
]


@lru_cache
def parts_of(text: str) -> tuple[Attack, ...]:
    """The attacks that a configuration names, in order; none at all for ``none``.

    Raises:
        FedbenchError: no such attack or option, or a value that the attack refuses.
    """
    try:
        return tuple(named.made(word, ATTACKS, ATTACKS) for word in _words(text))
    except ValueError as error:
        raise FedbenchError(f"attack = {shown(text)}: {error}.") from None


@lru_cache
def attack_of(text: str) -> Attack:
    """All that a configuration names as one attack; of ``none``, the honest one.

    Raises:
        FedbenchError: as :func:`parts_of`.
    """
    return together(parts_of(text)) if _words(text) else HONEST


def wrong_with(text: str) -> str:
    """Why no attack has this name, as a clause; empty if one has."""
    try:
        parts_of(text)
    except FedbenchError as error:
        return str(error).removesuffix(".")
    return ""


def canonical(text: str) -> str:
    """Known attacks with options in order, without those that are the defaults."""
    return "+".join(named.canonical(word, ATTACKS) for word in _words(text)) or NONE


def _words(text: str) -> list[str]:
    """Names with options; the plus of ``factor=1e+06`` separates none."""
    return [] if text == NONE else re.split(r"\+(?=[a-z])", text)
