"""From the items of a cell to its scores, each as an :class:`~fedbench.report.stats.Estimate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fedbench.config import PartitionConfig
from fedbench.report.cells import Cell, Holders
from fedbench.report.stats import Array, Estimate, estimate, without_seeds

if TYPE_CHECKING:
    import pandas as pd

ACCURACY, MACRO_F1, INVALID = "accuracy", "macro_f1", "invalid_rate"
OWN, WORST = "accuracy_own", "accuracy_worst"


@cache
def mean_of(cell: Cell, column: str) -> Estimate | None:
    """Mean of a column of the items, over adapters and items; None if a run lacks it."""
    tables = [table[["item", "cluster", column]].dropna(subset=[column]) for table in cell.tables]
    if not tables or any(table.empty for table in tables):
        return None
    clusters = _names(tables, "cluster")
    counts = np.stack([_sums(table, column, clusters) for table in tables], axis=1)
    single = len(tables) == 1 and bool((counts[..., 1] <= 1).all())
    score = estimate(counts, _ratio, cell.seeds, clusters)
    return _settled(cell, replace(score, single=single, items=_distinct_items(tables)))


def macro_f1(cell: Cell) -> Estimate | None:
    """F1 averaged over the gold classes (one never predicted counts zero), then over adapters."""
    if not cell.tables:
        return None
    clusters = _names(cell.tables, "cluster")
    classes = 1 + max(int(table[["gold", "prediction"]].max().max()) for table in cell.tables)
    adapters = _names(cell.tables, "adapter")
    made = [_confusion(table, clusters, adapters, classes) for table in cell.tables]
    score = estimate(np.stack(made, axis=1), _mean_f1, cell.seeds, clusters)
    return _settled(cell, replace(score, items=_distinct_items(cell.tables)))


def own_site(
    cell: Cell, partition: PartitionConfig, where: Holders, worst: bool = False
) -> Estimate | None:
    """Accuracy on each site's own test items: mean over sites, or that of the worst site.

    Where sites trained alone, each is scored with its own adapter. Settings that know no sites
    are scored with the items dealt as in ``partition``, seed by seed.
    """
    seeds = _dealt_seeds(cell, partition, where)
    tables = [_own_rows(cell, seed, where[cell.config.task, partition, seed]) for seed in seeds]
    if not tables or any(table.empty for table in tables):
        return None
    clusters, sites = _names(tables, "cluster"), _names(tables, "holder")
    counts = np.stack([_by_site(table, clusters, sites) for table in tables], axis=1)
    if worst:
        score = estimate(counts, _worst_site, seeds, clusters, _thinnest(counts))
        return _settled(cell, replace(score, items=_items_of_worst(counts)))
    score = estimate(counts, _mean_site, seeds, clusters)
    return _settled(cell, replace(score, items=_distinct_items(tables)))


#: metrics that need nothing but the cell's own items
METRICS: Mapping[str, Callable[[Cell], Estimate | None]] = {
    ACCURACY: lambda cell: mean_of(cell, "correct"),
    MACRO_F1: macro_f1,
    INVALID: lambda cell: mean_of(cell, "invalid"),
}


def _settled(cell: Cell, score: Estimate) -> Estimate:
    """An untuned backbone has one run and no seed: only its items vary."""
    return without_seeds(score) if cell.config.setting == "base" else score


def _dealt_seeds(cell: Cell, partition: PartitionConfig, where: Holders) -> list[int]:
    about = (cell.config.task, partition)
    dealt = sorted(seed for *dealt_as, seed in where if tuple(dealt_as) == about)
    if cell.config.setting == "base" and cell.runs:
        return dealt
    return [seed for seed in cell.seeds if seed in dealt]


def _own_rows(cell: Cell, seed: int, held: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    table = cell.tables[0 if cell.config.setting == "base" else cell.seeds.index(seed)]
    # Names are looked up once each, not row by row.
    sites = sorted(set(held.values()))
    of_item = [held.get(item, "") for item in table["item"].cat.categories.tolist()]
    held_by = _among(of_item, sites)[table["item"].cat.codes]
    kept = held_by >= 0
    if cell.config.setting == "local":
        kept &= held_by == _places(table["adapter"], sites)
    holder = pd.Categorical.from_codes(held_by[kept], categories=pd.Index(sites))
    return table.loc[kept, ["item", "cluster", "correct"]].assign(holder=holder)


def _names(tables: Iterable[pd.DataFrame], column: str) -> list[str]:
    return sorted({name for table in tables for name in table[column].unique().tolist()})


def _places(column: pd.Series, names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Where each name of a column of categories stands among ``names``."""
    return _among(column.cat.categories.tolist(), names)[column.cat.codes]


def _among(names: Iterable[str], known: Sequence[str]) -> npt.NDArray[np.int64]:
    """Where each of ``names`` stands among ``known``; -1 where it does not."""
    place = {name: at for at, name in enumerate(known)}
    return np.array([place.get(name, -1) for name in names], dtype=np.int64)


def _tally(shape: tuple[int, ...], places: Any, values: Any) -> Array:
    """Add up ``values`` at ``places``, which has one array of indices per axis."""
    counts = np.zeros(shape)
    np.add.at(counts, places, values)
    return counts


def _sums(table: pd.DataFrame, column: str, clusters: Sequence[str]) -> Array:
    """The column's sum and the number of rows within each cluster: [clusters, 2]."""
    shape, rows = (len(clusters),), (_places(table["cluster"], clusters),)
    return np.stack([_tally(shape, rows, table[column]), _tally(shape, rows, 1)], axis=-1)


def _by_site(table: pd.DataFrame, clusters: Sequence[str], sites: Sequence[str]) -> Array:
    """Right answers and items of each site within each cluster: [clusters, sites, 2]."""
    shape = len(clusters), len(sites)
    places = _places(table["cluster"], clusters), _places(table["holder"], sites)
    return np.stack([_tally(shape, places, table["correct"]), _tally(shape, places, 1)], axis=-1)


def _confusion(
    table: pd.DataFrame, clusters: Sequence[str], adapters: Sequence[str], classes: int
) -> Array:
    """Hits, predictions and truths within each cluster: [clusters, adapters, classes, 3].

    A prediction of -1 answers nothing: it is no class.
    """
    shape = len(clusters), len(adapters), classes
    place = _places(table["cluster"], clusters), _places(table["adapter"], adapters)
    gold, predicted = table["gold"].to_numpy(), table["prediction"].to_numpy()
    hits = _tally(shape, (*place, gold), gold == predicted)
    answered = predicted >= 0
    given = tuple(axis[answered] for axis in (*place, predicted))
    return np.stack([hits, _tally(shape, given, 1), _tally(shape, (*place, gold), 1)], -1)


def _distinct_items(tables: Sequence[pd.DataFrame]) -> float:
    """Items of a run, mean over runs; those that several adapters answer count once."""
    return float(np.mean([table["item"].nunique() for table in tables]))


def _items_of_worst(counts: Array) -> float:
    """Items of each seed's worst site, mean over seeds; ``counts`` as in :func:`_thinnest`."""
    total = counts.sum(axis=0)
    worst = np.nanargmin(_ratio(total), axis=-1)
    return float(np.mean([sites[at, 1] for sites, at in zip(total, worst, strict=True)]))


def _thinnest(counts: Array) -> int:
    """Fewest clusters that any site has; ``counts`` is [clusters, seeds, sites, 2]."""
    held = (counts[..., 1] > 0).sum(axis=0)
    return int(held[held > 0].min())


def _divide(top: Array, bottom: Array) -> Array:
    """Their ratio, NaN where there is nothing to divide by."""
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)


def _ratio(counts: Array) -> Array:
    return _divide(counts[..., 0], counts[..., 1])


def _mean_site(counts: Array) -> Array:
    return np.asarray(np.nanmean(_ratio(counts), axis=-1), dtype=np.float64)


def _worst_site(counts: Array) -> Array:
    return np.asarray(np.nanmin(_ratio(counts), axis=-1), dtype=np.float64)


def _mean_f1(counts: Array) -> Array:
    """Mean over classes, then over adapters; an adapter that a seed lacks has no class at all."""
    by_class = _divide(2 * counts[..., 0], counts[..., 1] + counts[..., 2])
    asked = counts[..., 2] > 0
    by_adapter = _divide(np.where(asked, by_class, 0).sum(axis=-1), asked.sum(axis=-1) * 1.0)
    return np.asarray(np.nanmean(by_adapter, axis=-1), dtype=np.float64)
