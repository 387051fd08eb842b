"""Every site's update side by side, for rules that must compare them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from fedbench.rules.rule import Contribution, Reduced, State

if TYPE_CHECKING:
    from torch import Tensor


class Stacked(NamedTuple):
    """The cohort's contributions in the order of sites."""

    updates: State  #: by tensor, a first dimension over sites
    weights: Tensor  #: (sites,) float64, adding up to 1

    def mean(self, weights: Tensor) -> State:
        """The sum over sites of ``weights``, which add up to 1, times updates."""
        import torch

        return {
            name: torch.tensordot(weights.to(update.dtype), update, dims=1)
            for name, update in self.updates.items()
        }

    def squares(self, centre: State) -> Tensor:
        """(sites,) squared distances of whole updates to ``centre``, over all tensors together."""
        return _over_all([u - centre[name] for name, u in self.updates.items()])

    def between(self) -> Tensor:
        """(sites, sites) squared distances of whole updates to one another."""
        import torch

        rows = [self.squares({n: u[k] for n, u in self.updates.items()})
                for k in range(len(self.weights))]  # fmt: skip
        return torch.stack(rows)


def _over_all(differences: list[Tensor]) -> Tensor:
    return sum(d.double().flatten(1).square().sum(1) for d in differences)  # type: ignore[return-value]


def stack(reduced: Reduced | Iterator[Contribution]) -> Stacked:
    """Put the contributions of a cohort side by side; as many adapters as sites are in memory."""
    import torch

    assert not isinstance(reduced, Reduced)
    heard = list(reduced)
    weights = torch.tensor([each.weight for each in heard], dtype=torch.float64)
    names = heard[0].tensors
    updates = {name: torch.stack([each.tensors[name] for each in heard]) for name in names}
    return Stacked(updates, weights / weights.sum())


def added(state: State, update: State) -> State:
    """The adapter moved by ``update``."""
    return {name: value + update[name] for name, value in state.items()}
