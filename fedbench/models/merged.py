"""An adapter folded into its backbone for as long as only scores are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def merged(model: nn.Module) -> Iterator[None]:
    """Fold the adapter of ``model`` into its weights inside the block, then put them back.

    Every projection then costs one product. On leaving, the very tensors that were there before
    are there again, so nothing drifts. Weights that are quantised, or narrower than fp32, would
    round the adapter away, and offloaded ones are not here: they are left as they are.
    """
    layers = _foldable(model)
    before = [(p, p.data) for layer in layers for p in layer.get_base_layer().parameters()]
    try:
        for layer in layers:
            for parameter in layer.get_base_layer().parameters():
                parameter.data = parameter.data.clone()
            layer.merge()
        yield
    finally:
        for layer in layers:
            layer.merged_adapters.clear()
        for parameter, data in before:
            parameter.data = data


def _foldable(model: nn.Module) -> list[Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [
        module
        for module in model.modules()
        if isinstance(module, BaseTunerLayer) and _can_change(module.get_base_layer().weight)
    ]


def _can_change(weight: Any) -> bool:
    return bool(weight.dtype in (torch.float32, torch.float64) and not weight.is_meta)
