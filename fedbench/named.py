"""What a configuration names, with options: ``fedavg``, ``fedprox:mu=0.1``, ``top-k:share=0.01``.

A registry maps a name to a function whose arguments are the options, all numbers with defaults.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from fedbench.errors import shown

Registry = Mapping[str, Callable[..., Any]]


def made(text: str, known: Registry, listed: Registry) -> Any:
    """What the function that ``text`` names returns for the options that ``text`` gives.

    Raises:
        ValueError: no such name or option, or a value that is refused; what is wrong, as a clause.
    """
    name, options = read(text, known, listed)
    return known[name](**options)


def canonical(text: str, known: Registry) -> str:
    """The name with options in order, without those that are the defaults."""
    name, options = read(text, known, known)
    usual = defaults(known[name])
    told = [f"{key}={_digits(v)}" for key, v in sorted(options.items()) if v != usual[key]]
    return ":".join([name, ",".join(told)]) if told else name


def defaults(function: Callable[..., Any]) -> Mapping[str, float]:
    """The options of a registered function, and what they are unless a text says more."""
    parameters = inspect.signature(function).parameters
    return {key: parameter.default for key, parameter in parameters.items()}


def read(text: str, known: Registry, listed: Registry) -> tuple[str, dict[str, float]]:
    """Name and options; a name that is not ``known`` is told which ones are ``listed``.

    Raises:
        ValueError: what is wrong with them, as a clause.
    """
    name, _, rest = text.partition(":")
    if name not in known:
        raise ValueError(f"{shown(name)} is not known{_near(name, listed)}")
    usual = defaults(known[name])
    options = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key not in usual:
            raise ValueError(f"{name} has no option {shown(key)}{_near(key, usual)}")
        if key in options:
            raise ValueError(f"{key} is given twice")
        options[key] = _number(value)
        if not math.isfinite(options[key]):
            example = f"{name}:{key}={usual[key]:g}"
            raise ValueError(f"{key} = {shown(value)} is no number; write {example}")
    return name, options


def _digits(value: float) -> str:
    """The shortest text that is read as this very number: two names never share a text."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _near(given: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(given[:100], known, n=1)
    hint = f", did you mean {near[0]}?" if near else ""
    return f"{hint} (allowed: {', '.join(known) or 'none'})"
