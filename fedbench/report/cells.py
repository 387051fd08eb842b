"""Which runs belong together, and what their items say, before any statistics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fedbench.columns import Columns
from fedbench.config import REWRITTEN, SETTINGS, PartitionConfig, RunConfig
from fedbench.faults import NONE
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

POOLED = "pooled"  #: the partition of a setting that knows no sites, nor what these do to examples

#: which site holds each test item, per (task, partition, seed)
Holders = Mapping[tuple[str, PartitionConfig, int], Mapping[str, str]]

_METHODS = ("lora", "qlora", "ia3", "full")
_KINDS = ("iid", "dirichlet", "label", "quantity", "natural")


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
        """Whether the setting knows no sites: what these do to examples is all that matters."""
        return self.config.setting in REWRITTEN

    @property
    def seedless(self) -> bool:
        """Whether one run stands for every seed: nothing is trained, and items are asked alike."""
        config = self.config
        return config.setting == "base" and not config.partition.rewrites(config.setting)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that were run."""
        return tuple(run.config.seed for run in self.runs)

    @property
    def about(self) -> tuple[str, str, str]:
        """Task, backbone and method: what stays the same when settings are compared."""
        return self.config.task, self.config.backbone, self.config.method

    @property
    def rule(self) -> str:
        """What tables call the rule."""
        return self.config.rule_and_own_passes

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


def alike(left: Cell, right: Cell) -> bool:
    """Whether two cells have the same partition, as far as the settings of both depend on it."""

    def seen(cell: Cell) -> PartitionConfig:
        return cell.config.partition.seen_by(left.config.setting).seen_by(right.config.setting)

    return seen(left) == seen(right)


#: what a cell and its like in another setting have in common beside the partition, where both are
#: trained, and where one is the untuned backbone
_ASKED_ALIKE = ("task", "backbone", "method", "labels", "test_limit", "max_tokens")
_TRAINED_ALIKE = ("optimizer", "train_limit")


def counterpart(cell: Cell, found: Iterable[Cell], setting: str) -> Cell | None:
    """The first of ``found`` that was run and is the same in another setting; None without one.

    It has the same partition as far as both settings depend on it. How it was trained matters only
    if it was: an untuned backbone has no optimizer.
    """
    names = _ASKED_ALIKE if setting == "base" else (*_ASKED_ALIKE, *_TRAINED_ALIKE)
    for other in found:
        same = all(getattr(other.config, name) == getattr(cell.config, name) for name in names)
        if other.runs and other.config.setting == setting and same and alike(cell, other):
            return other
    return None


def beside(frame: pd.DataFrame, partition: str) -> pd.Series[bool]:
    """Which rows belong to a partition: its own, and pooled ones that read the same examples."""
    apart = [
        setting
        for setting, fields in REWRITTEN.items()
        if any(f"+{name}-" in partition for name in fields)
    ]
    pooled = (frame["partition"] == POOLED) & ~frame["setting"].isin(apart)
    return (frame["partition"] == partition) | pooled


def whole(found: Iterable[Cell]) -> list[Cell]:
    """Cells in which nobody was left out on purpose, is hostile or fails, and nothing is noised.

    They are what tables of settings and rules compare; a private run is compared with the same one
    without privacy (:mod:`fedbench.report.privacy`) and would stand here as if it were that.
    """
    return [
        cell
        for cell in found
        if cell.config.partition.without is None
        and not cell.config.hostile
        and cell.config.faults == NONE
        and cell.config.privacy is None
    ]


def partition_names(configs: Iterable[RunConfig]) -> dict[PartitionConfig, str]:
    """What tables call each partition: its label, and as much more as tells it from the others."""
    known = {config.partition for config in configs if config.setting not in REWRITTEN}
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
    sites, label = config.partition.sites, config.partition.label
    return (config.task, config.backbone, *place, alpha, setting, sites, label, config.id)


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


#: columns that tell how much of a federation took part, and so is scored on own items
COVERAGE = ("sites", "sites_trained", "n_train_used", "n_train_all")


def coverage(run: Run) -> dict[str, int]:
    """Sites and training examples of a run: of those that trained, and of all.

    A site that is too small to train lends its examples to no one, and is not scored on its own
    test items.
    """
    trained = sum(bool(site.get("trained", True)) for site in run.sites)
    used, held = held_for_training(run), sum(int(site["n_train"]) for site in run.sites)
    return dict(zip(COVERAGE, (len(run.sites), trained, used, held), strict=True))


def _seedless(config: RunConfig) -> str:
    return config.model_copy(update={"seed": 0}).id


def _cell(runs: list[Run], configs: list[RunConfig], names: Mapping[PartitionConfig, str]) -> Cell:
    by_seed = tuple(sorted(runs, key=lambda run: run.config.seed))
    first = min(configs, key=lambda config: config.seed)
    return Cell(first, by_seed, len(configs), _called(first, names))


def _called(config: RunConfig, names: Mapping[PartitionConfig, str]) -> str:
    """What tables call the partition of a cell.

    One whose setting has one site is called after the partition that rewrote its examples; of
    several that did it alike, after the one that does nothing else, or the first.
    """
    partition, setting = config.partition, config.setting
    if setting not in REWRITTEN:
        return names[partition]
    if not partition.rewrites(setting):
        return POOLED
    own = partition.seen_by(setting)
    found = sorted(name for one, name in names.items() if one.seen_by(setting) == own)
    return own.label if own.label in found or not found else found[0]


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
