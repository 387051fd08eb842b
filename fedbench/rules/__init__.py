"""Federated algorithms: one short file per rule, registered here.

Reading the registry does not import torch, so that configurations are checked quickly.
"""

from __future__ import annotations

from fedbench.rules.fedavg import FEDAVG
from fedbench.rules.rule import Rule

RULES: dict[str, Rule] = {rule.name: rule for rule in (FEDAVG,)}

__all__ = ["RULES", "Rule"]
