"""NF4 with double quantisation by bitsandbytes, and its dequantised twin.

The record names which was used: only the packed form supplies memory, speed or energy of QLoRA.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig


@dataclass(frozen=True)
class ComputeKind:
    """How a backbone is loaded and what is done to it afterwards."""

    loading: Callable[[torch.dtype], Any]
    finish: Callable[[Any], Any]


def _nf4(dtype: torch.dtype) -> BitsAndBytesConfig:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _same_arithmetic_everywhere(model: nn.Module) -> nn.Module:
    """Keep bitsandbytes from repacking weights for bf16 when scoring.

    On processors with AVX512-BF16 it would, and scores would depend on the machine.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
    return model


@torch.no_grad()
def dequantise(model: nn.Module) -> nn.Module:
    """Replace every 4-bit layer by a plain one that holds the same, dequantised weights."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, Linear4bit):
                weight: Any = layer.weight
                plain = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
                plain.weight = nn.Parameter(
                    dequantize_4bit(weight.data, weight.quant_state).to(layer.compute_dtype),
                    requires_grad=False,
                )
                plain.bias = layer.bias
                setattr(parent, name, plain)
    # Without this, peft would look for 4-bit layers and find plain ones.
    model.is_loaded_in_4bit = False  # type: ignore[assignment]
    return model


COMPUTES: dict[str, ComputeKind] = {
    "plain": ComputeKind(lambda _: None, lambda model: model),
    "nf4": ComputeKind(_nf4, _same_arithmetic_everywhere),
    "nf4-dequantised": ComputeKind(_nf4, dequantise),
}


def backbone_bytes(model: nn.Module) -> int:
    """Bytes of the frozen parameters as they lie in memory, quantisation constants included."""
    return sum(_parameter_bytes(parameter) for parameter in model.parameters())


def _parameter_bytes(parameter: Any) -> int:
    size: int = parameter.numel() * parameter.element_size()
    state = getattr(parameter, "quant_state", None)
    if state is None:
        return size
    constants: list[torch.Tensor] = list(state.as_dict(packed=True).values())
    return size + sum(value.numel() * value.element_size() for value in constants)
