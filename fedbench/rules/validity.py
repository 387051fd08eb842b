"""Which rule has a meaning with which method: asked of the rules themselves."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from fedbench.config import PartitionConfig, RunConfig
from fedbench.models.methods import METHODS
from fedbench.rules import RULES, rule_of
from fedbench.rules.rule import Rule, as_sent

#: what the server is given, and so what would have to be hidden by secure aggregation
GIVEN = {"sum": "their sum", "each": "each update"}


def hidden(rule: Rule) -> str:
    """Why secure aggregation cannot serve a rule; empty if it can."""
    return "" if rule.reduce == "sum" else "its server must see each update, and not only their sum"


def not_private(rule: Rule) -> str:
    """Why clipped updates with a noised sum have no meaning under a rule; empty if they do."""
    if reason := hidden(rule):
        return reason
    if not rule.differences:
        return "its sites send whole factors, which do not shrink to nothing when they are clipped"
    if rule.moved is not as_sent:
        return "its sites send more than an update, which would be clipped and noised with it"
    return ""


def table() -> list[Sequence[str]]:
    """Rows of text, the first of them the head.

    Rule, what its server sees, a column per method, unequal ranks, one per mode of privacy, and
    what the rule promises.
    """
    modes = (*_MODES, "privacy of examples")
    head = ("rule", "its server sees", *METHODS, "unequal ranks", *modes, "keeps what it promises")
    rows: list[Sequence[str]] = [head]
    for name in RULES:
        rule = rule_of(name)
        cells = [_cell(name, method) for method in METHODS]
        cells.append(_cell(name, "lora", _UNEQUAL))
        cells += ["refused" if why(rule) else "yes" for why in _MODES.values()]
        cells.append("yes")  # DP-SGD is a gradient, whatever is made of it
        rows.append((name, GIVEN[rule.reduce], *cells, ", ".join(sorted(rule.claims))))
    return rows


def refusals() -> list[str]:
    """Every reason for a refusal, after the rules that give it."""
    about: dict[str, dict[str, None]] = {}
    asked = [(method, _EQUAL) for method in METHODS] + [("lora", _UNEQUAL)]
    for name, (method, sites), optimizer in itertools.product(RULES, asked, ("adamw", "sgd")):
        if reason := _refused(name, method, optimizer, sites):
            about.setdefault(reason, {})[name] = None
    for name, (mode, asked_of) in itertools.product(RULES, _MODES.items()):
        if reason := asked_of(rule_of(name)):
            about.setdefault(f"no {mode}, because {reason}", {})[name] = None
    return [f"{', '.join(rules)}: {reason}." for reason, rules in about.items()]


#: by mode of privacy: why it cannot serve a rule
_MODES = {"secure aggregation": hidden, "privacy of sites": not_private}
_EQUAL, _UNEQUAL = PartitionConfig(), PartitionConfig(ranks=(16, 4))


def _cell(name: str, method: str, sites: PartitionConfig = _EQUAL) -> str:
    """Whether there is an optimizer under which they have a meaning together."""
    if not _refused(name, method, "adamw", sites):
        return "yes"
    return "refused" if _refused(name, method, "sgd", sites) else "sgd only"


def _refused(name: str, method: str, optimizer: str, sites: PartitionConfig) -> str:
    config = RunConfig(task="", rule=name, method=method, optimizer=optimizer, partition=sites)
    return rule_of(name).refuses(config)
