"""The two factors of LoRA, told apart by the names that peft gives them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fedbench.models.lora_names import DOWN, UP

if TYPE_CHECKING:
    from fedbench.config import RunConfig

__all__ = ["DOWN", "UP", "downs", "only_lora", "ups"]


def downs(names: Iterable[str]) -> frozenset[str]:
    """Names of the factors A."""
    return frozenset(name for name in names if DOWN in name)


def ups(names: Iterable[str]) -> frozenset[str]:
    """Names of the factors B."""
    return frozenset(name for name in names if UP in name)


def only_lora(config: RunConfig) -> str:
    """Refuse whatever has no factors A and B."""
    if config.method in ("lora", "qlora"):
        return ""
    return f"it treats the two factors of LoRA apart, and {config.method} has none"
