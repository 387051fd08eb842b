"""Putting a peft adapter on a backbone that outlives it, and taking it off."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def inject(backbone: Any, peft_config: Any) -> nn.Module:
    """Wrap ``backbone`` in place; the adapter is fp32 whatever the backbone's type."""
    from peft import get_peft_model

    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5 under the old name of a property.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        model: nn.Module = get_peft_model(backbone, peft_config)
        return model


def remove(model: Any) -> nn.Module:
    """Give the bare backbone back, its own weights untouched."""
    backbone: nn.Module = model.unload()
    # Left behind, this attribute makes peft warn that a second adapter is being stacked.
    if hasattr(backbone, "peft_config"):
        del backbone.peft_config
    return backbone
