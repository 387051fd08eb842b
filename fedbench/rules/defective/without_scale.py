"""WRONG ON PURPOSE: what is added to the backbone's weights lacks LoRA's scale alpha / r.

    W  <-  W + D    in place of    W + (alpha / r) D

with D the stacked product of FLoRA, or the residual of FedEx-LoRA. FedLLM-Factory leaves the scale
out of both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fedbench.rules.fedex_lora import fedex_lora
from fedbench.rules.flora import flora
from fedbench.rules.lora_halves import UP
from fedbench.rules.rule import Message, Rule, State

if TYPE_CHECKING:
    from fedbench.config import RunConfig

_SCALE = "scale"


def residual_without_scale() -> Rule:
    """FedEx-LoRA, its residual r / alpha times what it should be."""
    return _without_scale("defect-residual-without-scale", fedex_lora())


def stack_without_scale() -> Rule:
    """FLoRA, its stacked product r / alpha times what it should be."""
    return _without_scale("defect-stack-without-scale", flora())


def _without_scale(name: str, rule: Rule) -> Rule:
    """``rule``, whose delta is divided by the scale that models multiply it with."""

    def init(adapter: State, config: RunConfig) -> State:
        import torch

        return rule.init(adapter, config) | {_SCALE: torch.tensor(config.alpha / config.rank)}

    def broadcast(state: State, site: str) -> Message:
        told = rule.broadcast({n: t for n, t in state.items() if n != _SCALE}, site)
        delta = {n: t / state[_SCALE] if UP in n else t for n, t in told.delta.items()}
        return replace(told, delta=delta)

    return replace(rule, name=name, init=init, broadcast=broadcast)
