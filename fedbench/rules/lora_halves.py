"""The two factors of LoRA, told apart by the names that peft gives them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedbench.config import RunConfig

DOWN, UP = ".lora_A.", ".lora_B."  #: A: (rank, in), B: (out, rank)


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
