"""The trainable tensors of a model: read, written and counted by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]


def trained_tensors(model: nn.Module) -> Tensors:
    """Copies of all trainable parameters on the CPU, by sorted name."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return {name: named[name].detach().cpu().clone() for name in sorted(named)}


@torch.no_grad()
def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Write ``tensors`` into the trainable parameters, in place.

    Raises:
        ValueError: names or shapes are not exactly those of the model.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if named.keys() != tensors.keys():
        odd = sorted(named.keys() ^ tensors.keys())
        raise ValueError(f"these tensors are not the model's trainable ones: {odd[:3]}")
    for name, parameter in named.items():
        if parameter.shape != tensors[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(tensors[name].shape)}, not {tuple(parameter.shape)}"
            )
        parameter.copy_(tensors[name])


def count(tensors: Mapping[str, Tensor]) -> int:
    """Numbers that the tensors hold."""
    return sum(tensor.numel() for tensor in tensors.values())


def count_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of the tensors' values, without names or framing."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
