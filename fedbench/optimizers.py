"""Optimizers of local training, by name, and empty whenever a site begins a round.

What a site's optimizer remembers is never carried over: a centralized run that kept its moments
would not be comparable. Its buffers are kept, though, and zeroed in place: sites of one process
take turns on one model, and buffers made anew in every turn would be as large as the adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.nn import Parameter
    from torch.optim import Optimizer

    from fedbench.config import RunConfig

#: An optimizer of these parameters, without any memory; its rate is set before every step.
Start = Callable[[Sequence["Parameter"]], "Optimizer"]


@dataclass(frozen=True)
class Kind:
    """How an optimizer is made, and how it forgets everything."""

    make: Callable[[Sequence[Parameter], RunConfig], Optimizer]
    forget: Callable[[Optimizer], None]


def fresh(config: RunConfig) -> Start:
    """A new optimizer in every turn."""
    return lambda parameters: OPTIMIZERS[config.optimizer].make(parameters, config)


def reusing(config: RunConfig) -> Start:
    """The optimizer of the turn before, emptied, where it is of the same parameters."""
    kind, last = OPTIMIZERS[config.optimizer], list[Any]()

    def start(parameters: Sequence[Parameter]) -> Optimizer:
        if not (last and _same(last[0].param_groups[0]["params"], parameters)):
            last[:] = [kind.make(parameters, config)]
        kind.forget(last[0])
        return last[0]  # type: ignore[no-any-return]

    return start


def _same(held: Sequence[Parameter], wanted: Sequence[Parameter]) -> bool:
    return len(held) == len(wanted) and all(a is b for a, b in zip(held, wanted, strict=True))


def _adamw(parameters: Sequence[Parameter], config: RunConfig) -> Optimizer:
    from torch.optim import AdamW

    return AdamW(parameters, lr=0.0, weight_decay=config.weight_decay, fused=True)


def _sgd(parameters: Sequence[Parameter], config: RunConfig) -> Optimizer:
    from torch.optim import SGD

    return SGD(parameters, lr=0.0, weight_decay=config.weight_decay)


def _of_bitsandbytes(name: str) -> Callable[[Sequence[Parameter], RunConfig], Optimizer]:
    def make(parameters: Sequence[Parameter], config: RunConfig) -> Optimizer:
        from bitsandbytes import optim

        made: Optimizer = getattr(optim, name)(parameters, weight_decay=config.weight_decay)
        return made

    return make


def _zero(optimizer: Optimizer) -> None:
    """Steps and moments that are all zero are those of an optimizer that was just made."""
    for state in optimizer.state.values():
        for value in state.values():
            if value is not None:
                value.zero_()


def _restart(optimizer: Optimizer) -> None:
    """As bitsandbytes begins: no step, all codes and maxima of blocks zero; maps of codes stay.

    Buffers made anew would never be given back where they are paged: bitsandbytes keeps each one
    for as long as the process lives.
    """
    for state in optimizer.state.values():
        for name, value in state.items():
            if name.startswith(("state", "absmax")):
                value.zero_()
        state["step"] = 0


OPTIMIZERS: dict[str, Kind] = {
    "adamw": Kind(_adamw, _zero),
    "sgd": Kind(_sgd, _zero),
    "adamw-8bit": Kind(_of_bitsandbytes("AdamW8bit"), _restart),
    "adamw-8bit-paged": Kind(_of_bitsandbytes("PagedAdamW8bit"), _restart),
}
