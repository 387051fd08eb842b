"""Where the blocks of a backbone lie: all on the device, beside it, or spread over several GPUs.

Offloaded blocks lie in memory beside a GPU, or in the backbone's own files beside a CPU, and
accelerate brings in the weights of one layer at a time. What a block computed is kept for the
gradient together with its weights, so training saves memory only under ``checkpointing``, which
computes a block, and brings it in, once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedbench.errors import FedbenchError
from fedbench.paths import home

if TYPE_CHECKING:
    from torch import nn

#: Arguments of ``from_pretrained`` for a backbone's folder and a device.
Layout = Callable[[Path, str], dict[str, Any]]


def _whole(folder: Path, device: str) -> dict[str, Any]:
    return {"device_map": None if device == "cpu" else device}


def _offloaded(folder: Path, device: str) -> dict[str, Any]:
    beside = "disk" if device == "cpu" else "cpu"
    places = dict(_places(_skeleton(folder), device, beside))
    return {"device_map": places, "offload_folder": home() / "offload"}


def _sharded(folder: Path, device: str) -> dict[str, Any]:
    return {"device_map": "balanced"}


PLACEMENTS: Mapping[str, Layout] = {
    "whole": _whole,
    "offloaded": _offloaded,
    "sharded": _sharded,
}


def is_whole(model: nn.Module) -> bool:
    """Whether all weights of a backbone are where it computes; otherwise accelerate moves them."""
    return len({*getattr(model, "hf_device_map", {}).values()}) < 2


@contextmanager
def as_if_here(model: nn.Module, device: str) -> Iterator[None]:
    """Let offloaded weights look, inside the block, as if they lay on the device.

    peft puts an adapter where the weights are that it tunes, and those are nowhere while nothing is
    computed. What stands in for them is one zero, however large they are.
    """
    import torch

    absent = [
        (module, name, weight)
        for module in model.modules()
        for name, weight in module._parameters.items()
        if weight is not None and weight.is_meta
    ]
    for module, name, weight in absent:
        zero = torch.zeros((), dtype=weight.dtype, device=device).expand(weight.shape)
        module._parameters[name] = torch.nn.Parameter(zero, requires_grad=False)
    try:
        yield
    finally:
        for module, name, weight in absent:
            module._parameters[name] = weight


def check_placement(placement: str) -> None:
    """Make sure that there are devices to spread blocks over.

    Raises:
        FedbenchError: there are fewer than two.
    """
    if placement != "sharded":
        return
    import torch

    if torch.cuda.device_count() < 2:
        raise FedbenchError(
            f"placement = sharded needs several CUDA devices, and {torch.cuda.device_count()} are "
            "here: take placement = offloaded."
        )


def _skeleton(folder: Path) -> nn.Module:
    """The model without any weights: its modules and their names."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with torch.device("meta"):
        skeleton: nn.Module = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return skeleton


def _places(
    module: nn.Module, device: str, beside: str, path: str = ""
) -> Iterator[tuple[str, str]]:
    """By module, where it lies: every block ``beside`` the device, all else on it."""
    from torch.nn import ModuleList

    for name, child in module.named_children():
        below = f"{path}{name}"
        if isinstance(child, ModuleList):
            yield from ((f"{below}.{block}", beside) for block in range(len(child)))
        elif any(isinstance(part, ModuleList) for part in child.modules()):
            yield from _places(child, device, beside, f"{below}.")
        else:
            yield below, device
