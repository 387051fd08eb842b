"""Federated algorithms: one short file per rule, registered here.

A configuration names a rule and, after a colon, options that differ from its defaults:
``fedavg``, ``fedprox:mu=0.1``, ``fedadam:beta1=0.8,rate=0.01``. Reading the registry does not
import torch, so that configurations are checked quickly.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache

from fedbench.errors import FedbenchError
from fedbench.rules.fedadagrad import fedadagrad
from fedbench.rules.fedadam import fedadam
from fedbench.rules.fedavg import fedavg
from fedbench.rules.fedavgm import fedavgm
from fedbench.rules.fedprox import fedprox
from fedbench.rules.fedyogi import fedyogi
from fedbench.rules.ffa_lora import ffa_lora
from fedbench.rules.flexlora import flexlora
from fedbench.rules.geometric_median import geometric_median
from fedbench.rules.krum import krum
from fedbench.rules.median import median
from fedbench.rules.norm_clipping import norm_clipping
from fedbench.rules.outlier_weighting import outlier_weighting
from fedbench.rules.rolora import rolora
from fedbench.rules.rule import Rule
from fedbench.rules.trimmed_mean import trimmed_mean

RULES: dict[str, Callable[..., Rule]] = {
    "fedavg": fedavg,
    "fedprox": fedprox,
    "fedavgm": fedavgm,
    "fedadagrad": fedadagrad,
    "fedadam": fedadam,
    "fedyogi": fedyogi,
    "ffa-lora": ffa_lora,
    "rolora": rolora,
    "flexlora": flexlora,
    "median": median,
    "trimmed-mean": trimmed_mean,
    "krum": krum,
    "geometric-median": geometric_median,
    "norm-clipping": norm_clipping,
    "outlier-weighting": outlier_weighting,
}

__all__ = ["RULES", "Rule", "canonical", "defaults", "rule_of", "wrong_with"]


@lru_cache
def rule_of(text: str) -> Rule:
    """The rule that a configuration names.

    Raises:
        FedbenchError: no such rule or option, or a value that the rule refuses.
    """
    try:
        name, options = _read(text)
        return RULES[name](**options)
    except ValueError as error:
        raise FedbenchError(f"rule = {text!r}: {error}.") from None


def wrong_with(text: str) -> str:
    """Why no rule has this name, as a clause; empty if one has."""
    try:
        rule_of(text)
    except FedbenchError as error:
        return str(error).removesuffix(".")
    return ""


def canonical(text: str) -> str:
    """The name of a known rule with options in order, without those that are the defaults."""
    name, options = _read(text)
    usual = defaults(name)
    told = [f"{key}={value:g}" for key, value in sorted(options.items()) if value != usual[key]]
    return ":".join([name, ",".join(told)]) if told else name


def defaults(name: str) -> Mapping[str, float]:
    """The options of a registered rule, and what they are unless a configuration says more."""
    parameters = inspect.signature(RULES[name]).parameters
    return {key: parameter.default for key, parameter in parameters.items()}


def _read(text: str) -> tuple[str, dict[str, float]]:
    """Name and options.

    Raises:
        ValueError: what is wrong with them, as a clause.
    """
    name, _, rest = text.partition(":")
    if name not in RULES:
        raise ValueError(f"{name!r} is not known{_near(name, RULES)}")
    options = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key not in defaults(name):
            raise ValueError(f"{name} has no option {key!r}{_near(key, defaults(name))}")
        try:
            options[key] = float(value)
        except ValueError:
            example = f"{name}:{key}={defaults(name)[key]:g}"
            raise ValueError(f"{key} = {value!r} is no number; write {example}") from None
    return name, options


def _near(given: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(given, known, n=1)
    hint = f", did you mean {near[0]}?" if near else ""
    return f"{hint} (allowed: {', '.join(known) or 'none'})"
