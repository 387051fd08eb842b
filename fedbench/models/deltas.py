"""What federated rules add to a backbone's frozen weights: W = W at first + (alpha / r) B A.

A delta is a pair of factors of any rank for each projection, under the names that peft gives to
LoRA's. It is the whole change since the beginning, so whoever missed rounds lacks nothing. Sites
of one process share a model: the weights at first are kept once, and a delta is folded in only
where it is another than the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fedbench.models import ranks
from fedbench.models.lora_names import DOWN, UP
from fedbench.models.tensors import Tensors


@dataclass(frozen=True)
class _Folded:
    """What was folded into a model last, and the weights that it had at first."""

    delta: Mapping[str, Tensor]
    first: Mapping[str, Tensor]  #: by module


_NOTHING = _Folded({}, {})
_FOLDED: WeakKeyDictionary[nn.Module, _Folded] = WeakKeyDictionary()


@torch.no_grad()
def fold(model: nn.Module, delta: Mapping[str, Tensor]) -> None:
    """Make the frozen weights those at first plus what ``delta`` adds; an empty one restores them.

    Restored weights are the very tensors that were there, so nothing drifts.

    Raises:
        ValueError: a factor belongs to no plain LoRA projection of the model, or does not fit it.
            Every weight is as it was before.
    """
    last = _FOLDED.get(model, _NOTHING)
    if _same(last.delta, delta):
        return
    modules = sorted({name.partition(UP)[0] for name in delta if UP in name})
    for module in modules:  # all of them before any weight is another
        _check(model, module, delta)
    for module, weight in last.first.items():
        _base(model, module).weight.data = weight
    first = {}
    for module in modules:
        base = _base(model, module)
        first[module] = base.weight.data
        base.weight.data = base.weight.data + _change(model, module, delta).to(base.weight)
    _FOLDED[model] = _Folded(dict(delta), first)


def side_by_side(adapter: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> Tensors:
    """One adapter of a higher rank that adds what both add, for plain peft, which knows no delta.

    Factors stand side by side, with zeros where a projection has fewer than the others; the scale
    alpha / r must be that of ``adapter``.
    """
    sides = {name: 1 if UP in name else 0 for name in adapter}
    whole = {n: torch.cat([t, delta[n]], dim=sides[n]) for n, t in adapter.items()}
    rank = max(tensor.shape[sides[name]] for name, tensor in whole.items())
    return ranks.padded(whole, rank)


def _change(model: nn.Module, module: str, delta: Mapping[str, Tensor]) -> Tensor:
    """(alpha / r) B A, in the layout of the weight that it is added to."""
    up, down = _factors(module, delta)
    layer: Any = model.get_submodule(module)
    (scale,) = layer.scaling.values()
    change: Tensor = scale * (up.double() @ down.double())
    return change.T if layer.fan_in_fan_out else change


def _factors(module: str, delta: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """B and A of one projection.

    Raises:
        ValueError: there is none, or more than one.
    """
    (up,) = (tensor for name, tensor in delta.items() if name.startswith(module + UP))
    (down,) = (tensor for name, tensor in delta.items() if name.startswith(module + DOWN))
    return up, down


def _check(model: nn.Module, module: str, delta: Mapping[str, Tensor]) -> None:
    """Make sure that a projection is one of plain LoRA, and that its factors fit its weight.

    Raises:
        ValueError: they do not.
    """
    (up, down), weight = _factors(module, delta), _base(model, module).weight
    layer: Any = model.get_submodule(module)
    if not hasattr(layer, "scaling"):
        raise ValueError(f"the model has no LoRA at {module}")
    product = up.dim() == 2 == down.dim() and up.shape[1] == down.shape[0]
    shape = [*up.shape[:1], *down.shape[1:]]
    fits = [*weight.shape] == (shape[::-1] if layer.fan_in_fan_out else shape)
    if not (product and fits and weight.is_floating_point()):
        raise ValueError(f"the delta of {module} does not fit its weight")


def _base(model: nn.Module, module: str) -> Any:
    try:
        return model.get_submodule(module).get_base_layer()  # type: ignore[operator]
    except AttributeError:
        raise ValueError(f"the model has no LoRA at {module}") from None


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
