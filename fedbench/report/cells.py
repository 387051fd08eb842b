"""Which runs belong together, and what their items say, before any statistics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedbench.columns import Columns
from fedbench.config import SETTINGS, PartitionConfig, RunConfig
from fedbench.store import Run

POOLED = "pooled"  #: the partition of a setting that knows no sites

#: which site holds each test item, per (task, partition, seed)
Holders = Mapping[tuple[str, PartitionConfig, int], Mapping[str, str]]

_POOLED = ("base", "centralized")
_METHODS = ("lora", "qlora", "ia3", "full")
_KINDS = ("iid", "dirichlet", "quantity", "natural")


@dataclass(frozen=True, eq=False)
class Cell:
    """What one row of the main table is about: runs that differ in nothing but the seed.

    A cell is equal to itself only, so that what is computed of it can be kept beside it.
    """

    config: RunConfig  #: with the lowest seed
    runs: tuple[Run, ...] = ()  #: by seed; fewer than planned if some were not run
    planned: int = 0  #: how many seeds were asked for
    partition: str = POOLED  #: name of the partition it was trained on, as tables tell it

    @cached_property
    def tables(self) -> tuple[Columns, ...]:
        """Items of each run, judged; read once, when first asked for."""
        return tuple(_judged(run) for run in self.runs)

    @property
    def pooled(self) -> bool:
        """Whether the setting knows no sites, so that the partition does not matter to it."""
        return self.config.setting in _POOLED

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that were run."""
        return tuple(run.config.seed for run in self.runs)

    @property
    def about(self) -> tuple[str, str, str]:
        """Task, backbone and method: what stays the same when settings are compared."""
        return self.config.task, self.config.backbone, self.config.method

    @property
    def passes(self) -> float:
        """How often an example was really processed, on average over sites and runs that trained.

        Each run says how many examples it processed; ``nan`` where none did.
        """
        trained = [run for run in self.runs if run.metrics.get("examples")]
        shares = [run.metrics["examples"] / held_for_training(run) for run in trained]
        return sum(shares) / len(shares) if shares else float("nan")


def cells(runs: Iterable[Run], planned: Iterable[RunConfig] = ()) -> list[Cell]:
    """Group runs, and configurations planned but not run, by all but the seed, in table order."""
    found: dict[str, list[Run]] = defaultdict(list)
    asked: dict[str, dict[str, RunConfig]] = defaultdict(dict)
    for run in runs:
        found[_seedless(run.config)].append(run)
        asked[_seedless(run.config)][run.id] = run.config
    for config in planned:
        asked[_seedless(config)][config.id] = config
    names = partition_names(config for configs in asked.values() for config in configs.values())
    made = [_cell(found[key], list(configs.values()), names) for key, configs in asked.items()]
    return sorted(made, key=lambda cell: order(cell.config))


def partition_names(configs: Iterable[RunConfig]) -> dict[PartitionConfig, str]:
    """What tables call each partition: its label, and as much more as tells it from the others."""
    known = {config.partition for config in configs if config.setting not in _POOLED}
    return {one: _name(one, known - {one}) for one in known}


def _name(partition: PartitionConfig, others: Iterable[PartitionConfig]) -> str:
    alike = [other for other in others if other.label == partition.label]
    if not alike:
        return partition.label
    sites = f"{partition.label}, {partition.sites} sites"
    same_size = any(other.sites == partition.sites for other in alike)
    return f"{sites} of at least {partition.minimum}" if same_size else sites


def order(config: RunConfig) -> tuple[str | int | float, ...]:
    """Where a configuration stands in a table: IID first, settings from base to centralized."""
    method = _METHODS.index(config.method) if config.method in _METHODS else len(_METHODS)
    place = (method, config.method, _KINDS.index(config.partition.kind))
    alpha, setting = config.partition.alpha or 0.0, SETTINGS.index(config.setting)
    sites = config.partition.sites
    return (config.task, config.backbone, *place, alpha, setting, sites, config.id)


def holders(all_cells: Sequence[Cell]) -> dict[tuple[str, PartitionConfig, int], dict[str, str]]:
    """Who holds each test item, from runs that knew; only sites that trained count."""
    found: dict[tuple[str, PartitionConfig, int], dict[str, str]] = {}
    for cell in all_cells:
        for run, table in zip(cell.runs, cell.tables, strict=True):
            key = (cell.config.task, cell.config.partition, run.config.seed)
            if not cell.pooled and key not in found:
                found[key] = _held(run, table)
    return found


def _held(run: Run, table: Columns) -> dict[str, str]:
    trained = {str(site["site"]) for site in run.sites if site.get("trained", True)}
    items, sites = table.names["item"], table.names["site"]
    _, first = np.unique(items.codes, return_index=True)
    holder = [sites.each[code] for code in sites.codes[first].tolist()]
    return {item: site for item, site in zip(items.each, holder, strict=True) if site in trained}


def held_for_training(run: Run) -> int:
    """Training examples of the sites that are large enough to train."""
    return sum(int(site["n_train"]) for site in run.sites if site.get("trained", True))


def _seedless(config: RunConfig) -> str:
    return config.model_copy(update={"seed": 0}).id


def _cell(runs: list[Run], configs: list[RunConfig], names: Mapping[PartitionConfig, str]) -> Cell:
    by_seed = tuple(sorted(runs, key=lambda run: run.config.seed))
    first = min(configs, key=lambda config: config.seed)
    name = POOLED if first.setting in _POOLED else names[first.partition]
    return Cell(first, by_seed, len(configs), name)


def _judged(run: Run) -> Columns:
    """Items with the accuracy, per row, of the run and of three predictors without skill."""
    items = run.counted
    found = items.numbers
    answers = {"correct": "prediction", "majority": "majority", "blind": "blind"}
    right = {name: (found[a] == found["gold"]).astype(float) for name, a in answers.items()}
    asked = ~np.isnan(found["generated"])
    invalid = np.where(asked, found["generated"] == -1, np.nan)
    of_run = {"chance": 1.0 / found["choices"], "invalid": invalid, **right}
    return Columns(items.names, {**found, **of_run})
