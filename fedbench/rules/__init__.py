"""Federated algorithms: one short file per rule, registered here.

A configuration names a rule and, after a colon, options that differ from its defaults:
``fedavg``, ``fedprox:mu=0.1``, ``fedadam:beta1=0.8,rate=0.01``. Reading the registry does not
import torch, so that configurations are checked quickly.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from fedbench import named
from fedbench.errors import FedbenchError, shown
from fedbench.rules.defective import DEFECTIVE
from fedbench.rules.fedadagrad import fedadagrad
from fedbench.rules.fedadam import fedadam
from fedbench.rules.fedavg import fedavg
from fedbench.rules.fedavgm import fedavgm
from fedbench.rules.fedex_lora import fedex_lora
from fedbench.rules.fednova import fednova
from fedbench.rules.fedprox import fedprox
from fedbench.rules.fedsa_lora import fedsa_lora
from fedbench.rules.fedyogi import fedyogi
from fedbench.rules.ffa_lora import ffa_lora
from fedbench.rules.flexlora import flexlora
from fedbench.rules.flora import flora
from fedbench.rules.geometric_median import geometric_median
from fedbench.rules.hetlora import hetlora
from fedbench.rules.krum import krum
from fedbench.rules.majority_vote import majority_vote
from fedbench.rules.median import median
from fedbench.rules.norm_clipping import norm_clipping
from fedbench.rules.outlier_weighting import outlier_weighting
from fedbench.rules.rolora import rolora
from fedbench.rules.rule import Rule
from fedbench.rules.scaffold import scaffold
from fedbench.rules.trimmed_mean import trimmed_mean

if TYPE_CHECKING:
    from fedbench.config import RunConfig

RULES: dict[str, Callable[..., Rule]] = {
    "fedavg": fedavg,
    "fedprox": fedprox,
    "scaffold": scaffold,
    "fednova": fednova,
    "fedavgm": fedavgm,
    "fedadagrad": fedadagrad,
    "fedadam": fedadam,
    "fedyogi": fedyogi,
    "ffa-lora": ffa_lora,
    "rolora": rolora,
    "flexlora": flexlora,
    "flora": flora,
    "fedex-lora": fedex_lora,
    "hetlora": hetlora,
    "fedsa-lora": fedsa_lora,
    "majority-vote": majority_vote,
    "median": median,
    "trimmed-mean": trimmed_mean,
    "krum": krum,
    "geometric-median": geometric_median,
    "norm-clipping": norm_clipping,
    "outlier-weighting": outlier_weighting,
}
#: whatever has a name: those that are wrong on purpose are found too, and listed nowhere
_NAMED: Mapping[str, Callable[..., Rule]] = ChainMap(RULES, {**DEFECTIVE})

__all__ = ["RULES", "Rule", "canonical", "defaults", "is_personal", "rule_of", "wrong_with"]


@lru_cache
def rule_of(text: str) -> Rule:
    """The rule that a configuration names.

    Raises:
        FedbenchError: no such rule or option, or a value that the rule refuses.
    """
    try:
        rule: Rule = named.made(text, _NAMED, RULES)
    except ValueError as error:
        raise FedbenchError(f"rule = {shown(text)}: {error}.") from None
    return rule


def is_personal(config: RunConfig) -> bool:
    """Whether sites end with adapters of their own."""
    return config.own_passes > 0 or rule_of(config.rule).personal


def wrong_with(text: str) -> str:
    """Why no rule has this name, as a clause; empty if one has."""
    try:
        rule_of(text)
    except FedbenchError as error:
        return str(error).removesuffix(".")
    return ""


def canonical(text: str) -> str:
    """The name of a known rule with options in order, without those that are the defaults."""
    return named.canonical(text, _NAMED)


def defaults(name: str) -> Mapping[str, float]:
    """The options of a registered rule, and what they are unless a configuration says more."""
    return named.defaults(_NAMED[name])
