"""What a method saves of a resource, and of which configuration that is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from fedbench.report.cells import Cell
from fedbench.report.claim_file import Evidence

#: resources that only a suite with the machine to itself can tell
BY_SUITE = ("energy", "peak_memory")


class Configuration(NamedTuple):
    """What a saving is told of, and the accuracy that it may cost."""

    task: str
    backbone: str
    method: str
    compute: str
    partition: str  #: its label

    @classmethod
    def of(cls, cell: Cell) -> Self:
        """That of a cell."""
        config = cell.config
        compute = str(config.compute)  # a run's configuration is resolved: it is never open
        return cls(config.task, config.backbone, config.method, compute, cell.partition)


@dataclass(frozen=True)
class Saving:
    """What a method saves of a resource: one minus its need, divided by that of the other method.

    ``low`` and ``high`` bound it; of what is counted both are the value itself.
    """

    mean: float
    low: float
    high: float
    evidence: Evidence
    ci_kind: str
    repeats: int = 0  #: pairs of measurements behind the interval; none where it is counted

    @property
    def numbers(self) -> dict[str, Any]:
        """As a verdict has them."""
        known = {"mean": self.mean, "low": self.low, "high": self.high}
        return known | {"ci_kind": self.ci_kind, "n_repeats": self.repeats}


#: savings by resource and configuration, from a suite that has the machine to itself
Measured = Mapping[tuple[str, Configuration], Saving]
