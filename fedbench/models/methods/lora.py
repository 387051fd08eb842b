"""LoRA: W x + (alpha / r) B A x with B, A trained and B starting at zero (arXiv:2106.09685, eq. 3).

Applied to every linear projection of a block, as QLoRA found necessary to match full
fine-tuning (arXiv:2305.14314, section 4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedbench.models.methods.method import Method
from fedbench.models.methods.peft import inject, remove

if TYPE_CHECKING:
    from torch import nn

    from fedbench.config import RunConfig
    from fedbench.models.families import Family


def attach(backbone: nn.Module, family: Family, config: RunConfig) -> nn.Module:
    """Insert LoRA factors of rank ``config.rank`` beside every projection."""
    from peft import LoraConfig

    return inject(
        backbone,
        LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,  # type: ignore[arg-type]  # a float is as good
            lora_dropout=config.dropout,
            target_modules=list(family.linear),
            task_type="CAUSAL_LM",
        ),
    )


LORA = Method("lora", ("plain",), attach, remove)
