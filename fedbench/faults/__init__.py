"""Faults of sites in a round: one short file each, registered here.

A configuration names those that may happen, with their rates: ``silent:rate=0.1+crash:rate=0.05``.
Reading the registry does not import torch, so that configurations are checked quickly.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from fedbench import named
from fedbench.errors import FedbenchError, shown
from fedbench.faults.crash import crash
from fedbench.faults.drop_out import drop_out
from fedbench.faults.fault import Fault
from fedbench.faults.garbage import garbage
from fedbench.faults.late import late
from fedbench.faults.memory import memory
from fedbench.faults.silent import silent
from fedbench.faults.twice import twice

FAULTS: dict[str, Callable[..., Fault]] = {
    "drop-out": drop_out,
    "silent": silent,
    "late": late,
    "twice": twice,
    "crash": crash,
    "memory": memory,
    "garbage": garbage,
}
NONE = "none"  #: what a configuration without faults says

__all__ = ["FAULTS", "NONE", "Fault", "canonical", "faults_of", "sources", "wrong_with"]


@lru_cache
def faults_of(text: str) -> dict[str, Fault]:
    """The faults that a configuration names, by kind; none at all for ``none``.

    Raises:
        FedbenchError: no such fault or option, a value that the fault refuses, or a kind twice.
    """
    found: dict[str, Fault] = {}
    try:
        for word in _words(text):
            kind = word.partition(":")[0]
            if kind in found:
                raise ValueError(f"{kind} is named twice")
            found[kind] = named.made(word, FAULTS, FAULTS)
    except ValueError as error:
        raise FedbenchError(f"faults = {shown(text)}: {error}.") from None
    return found


def wrong_with(text: str) -> str:
    """Why this names no faults, as a clause; empty if it does."""
    try:
        faults_of(text)
    except FedbenchError as error:
        return str(error).removesuffix(".")
    return ""


def canonical(text: str) -> str:
    """Known faults in the order of their names, options in order, without those by default."""
    return "+".join(sorted(named.canonical(word, FAULTS) for word in _words(text))) or NONE


def sources(text: str) -> set[str]:
    """The modules that known faults come from."""
    return {FAULTS[kind].__module__ for kind in faults_of(text)}


def _words(text: str) -> list[str]:
    """Names with options; the plus of ``seconds=1e+02`` separates none."""
    return [] if text == NONE else re.split(r"\+(?=[a-z])", text)
