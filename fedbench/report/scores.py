"""From the items of a cell to its scores, each as an :class:`~fedbench.report.stats.Estimate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from fedbench.columns import Columns, Names, all_names
from fedbench.config import PartitionConfig
from fedbench.report.cells import Cell, Holders
from fedbench.report.stats import Array, Estimate, Interval, estimate, interval, without_seeds
from fedbench.store import SHARED

ACCURACY, MACRO_F1, INVALID = "accuracy", "macro_f1", "invalid_rate"
OWN, WORST, SPREAD = "accuracy_own", "accuracy_worst", "accuracy_spread"


@cache
def mean_of(cell: Cell, column: str) -> Estimate | None:
    """Mean of a column of the items, over adapters and items; None if a run lacks it."""
    tables = [_known(table, column) for table in cell.tables]
    if not tables or not all(map(len, tables)):
        return None
    clusters = _clusters(tables)
    counts = np.stack([_sums(table, column, clusters) for table in tables], axis=1)
    single = len(tables) == 1 and bool((counts[..., 1] <= 1).all())
    score = estimate(counts, _ratio, cell.seeds, clusters)
    return _settled(cell, replace(score, single=single, items=_distinct_items(tables)))


def macro_f1(cell: Cell) -> Estimate | None:
    """F1 averaged over the gold classes (one never predicted counts zero), then over adapters."""
    if not cell.tables:
        return None
    clusters = _clusters(cell.tables)
    adapters = all_names(table.names["adapter"] for table in cell.tables)
    indices = [table.numbers[name] for table in cell.tables for name in ("gold", "prediction")]
    classes = 1 + max(int(column.max()) for column in indices)
    made = [_confusion(table, clusters, adapters, classes) for table in cell.tables]
    score = estimate(np.stack(made, axis=1), _mean_f1, cell.seeds, clusters)
    return _settled(cell, replace(score, items=_distinct_items(cell.tables)))


def own_site(
    cell: Cell, partition: PartitionConfig, where: Holders, worst: bool = False
) -> Estimate | None:
    """Accuracy on each site's own test items: mean over sites, or that of the worst site.

    Where sites end with adapters of their own, each is scored with its own. Settings that know no
    sites are scored with the items dealt as in ``partition``, seed by seed.
    """
    own = _of_sites(cell, partition, where)
    if own is None:
        return None
    if worst:
        score = estimate(own.counts, _worst_site, own.seeds, own.clusters, _thinnest(own.counts))
        return _settled(cell, replace(score, items=_items_of_worst(own.counts)))
    score = estimate(own.counts, _mean_site, own.seeds, own.clusters)
    return _settled(cell, replace(score, items=own.items))


def spread_of_sites(cell: Cell, partition: PartitionConfig, where: Holders) -> Estimate | None:
    """Standard deviation over sites of their accuracy on their own test items.

    It holds the chance of few items too: of equally good sites it is not zero. Settings that are
    scored on the same items compare, partitions hardly.
    """
    own = _of_sites(cell, partition, where)
    if own is None:
        return None
    score = estimate(
        own.counts, lambda c: deviation(_ratio(c)), own.seeds, own.clusters, _thinnest(own.counts)
    )
    return _settled(cell, replace(score, items=own.items))


def score_of(
    cell: Cell, metric: str, partition: PartitionConfig, where: Holders
) -> Estimate | None:
    """The score of this name, with sites' own items dealt as in ``partition``."""
    if metric in METRICS:
        return METRICS[metric](cell)
    if metric == SPREAD:
        return spread_of_sites(cell, partition, where)
    return own_site(cell, partition, where, worst=metric == WORST)


def right_by_site(cell: Cell, seed: int, held: Mapping[str, str]) -> dict[str, dict[str, bool]]:
    """By site, which of its own test items it gets right with the adapter that it ends with.

    ``held`` says who holds each item; what a cell without seeds answers counts for each.
    """
    table = _own_rows(cell, seed, held)
    sites, items = table.names["holder"], table.names["item"]
    found: dict[str, dict[str, bool]] = {site: {} for site in sites.each}
    right = (table.numbers["correct"] == 1).tolist()
    for site, item, one in zip(sites.codes.tolist(), items.codes.tolist(), right, strict=True):
        found[sites.each[site]][items.each[item]] = one
    return found


def right_by_item(table: Columns) -> dict[str, bool]:
    """Whether each item is answered right, of a table with one answer to each."""
    items, right = table.names["item"], table.numbers["correct"] == 1
    return {items.each[code]: one for code, one in zip(items.codes, right.tolist(), strict=True)}


def clusters_of(table: Columns) -> dict[str, str]:
    """The cluster of every item of a table."""
    items, clusters = table.names["item"], table.names["cluster"]
    pairs = zip(items.codes.tolist(), clusters.codes.tolist(), strict=True)
    return {items.each[item]: clusters.each[cluster] for item, cluster in pairs}


def paired(
    first: Mapping[str, bool], second: Mapping[str, bool], clusters: Mapping[str, str]
) -> Interval:
    """Share of items that ``first`` gets right, less that of ``second``, of one run of each.

    The interval is over clusters of the items, which both were asked.
    """
    names = sorted({clusters[item] for item in first})
    place = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), 1, 3))
    for item, right in first.items():
        counts[place[clusters[item]], 0] += (right, second[item], 1)
    score = estimate(counts, _gained, [0], names)
    return interval(replace(score, bounded=False))


def _gained(counts: Array) -> Array:
    return divide(counts[..., 0] - counts[..., 1], counts[..., 2])


#: metrics that need nothing but the cell's own items
METRICS: Mapping[str, Callable[[Cell], Estimate | None]] = {
    ACCURACY: lambda cell: mean_of(cell, "correct"),
    MACRO_F1: macro_f1,
    INVALID: lambda cell: mean_of(cell, "invalid"),
}


class _OfSites(NamedTuple):
    counts: Array  #: right answers and items, [clusters, seeds, sites, 2]
    seeds: Sequence[int]
    clusters: Sequence[str]
    items: float  #: of a run, mean over runs


def _of_sites(cell: Cell, partition: PartitionConfig, where: Holders) -> _OfSites | None:
    seeds = _dealt_seeds(cell, partition, where)
    tables = [_own_rows(cell, seed, where[cell.config.task, partition, seed]) for seed in seeds]
    if not tables or not all(map(len, tables)):
        return None
    clusters, sites = _clusters(tables), all_names(table.names["holder"] for table in tables)
    counts = np.stack([_by_site(table, clusters, sites) for table in tables], axis=1)
    return _OfSites(counts, seeds, clusters, _distinct_items(tables))


def _settled(cell: Cell, score: Estimate) -> Estimate:
    """A backbone that is asked the same for every seed has one run: only its items vary."""
    return without_seeds(score) if cell.seedless else score


def _dealt_seeds(cell: Cell, partition: PartitionConfig, where: Holders) -> list[int]:
    about = (cell.config.task, partition)
    dealt = sorted(seed for *dealt_as, seed in where if tuple(dealt_as) == about)
    if cell.seedless and cell.runs:
        return dealt
    return [seed for seed in cell.seeds if seed in dealt]


def _known(table: Columns, column: str) -> Columns:
    """The rows in which there is something in a column."""
    there = ~np.isnan(table.numbers[column])
    return table if there.all() else table.of(there)


def _own_rows(cell: Cell, seed: int, held: Mapping[str, str]) -> Columns:
    """The items that sites hold, each with its ``holder``, as answered by whom the cell says."""
    table = cell.tables[0 if cell.seedless else cell.seeds.index(seed)]
    items, sites = table.names["item"], sorted(set(held.values()))
    holders = Names([held.get(item, "") for item in items.each], items.codes).among(sites)
    adapters = table.names["adapter"]
    kept = (holders >= 0) & ((holders == adapters.among(sites)) | (adapters.among([SHARED]) == 0))
    found = table.of(kept)
    return Columns({**found.names, "holder": Names(sites, holders).of(kept)}, found.numbers)


def _clusters(tables: Iterable[Columns]) -> list[str]:
    return all_names(table.names["cluster"] for table in tables)


def _tally(shape: tuple[int, ...], places: Any, values: Any) -> Array:
    """Add up ``values`` at ``places``, which has one array of indices per axis."""
    counts = np.zeros(shape)
    np.add.at(counts, places, values)
    return counts


def _sums(table: Columns, column: str, clusters: Sequence[str]) -> Array:
    """The column's sum and the number of rows within each cluster: [clusters, 2]."""
    shape, rows = (len(clusters),), (table.names["cluster"].among(clusters),)
    return np.stack([_tally(shape, rows, table.numbers[column]), _tally(shape, rows, 1)], axis=-1)


def _by_site(table: Columns, clusters: Sequence[str], sites: Sequence[str]) -> Array:
    """Right answers and items of each site within each cluster: [clusters, sites, 2]."""
    shape = len(clusters), len(sites)
    places = table.names["cluster"].among(clusters), table.names["holder"].among(sites)
    right = table.numbers["correct"]
    return np.stack([_tally(shape, places, right), _tally(shape, places, 1)], axis=-1)


def _confusion(
    table: Columns, clusters: Sequence[str], adapters: Sequence[str], classes: int
) -> Array:
    """Hits, predictions and truths within each cluster: [clusters, adapters, classes, 3].

    A prediction of -1 answers nothing: it is no class.
    """
    shape = len(clusters), len(adapters), classes
    place = table.names["cluster"].among(clusters), table.names["adapter"].among(adapters)
    gold, predicted = table.numbers["gold"], table.numbers["prediction"]
    hits = _tally(shape, (*place, gold), gold == predicted)
    answered = predicted >= 0
    given = tuple(axis[answered] for axis in (*place, predicted))
    return np.stack([hits, _tally(shape, given, 1), _tally(shape, (*place, gold), 1)], -1)


def _distinct_items(tables: Sequence[Columns]) -> float:
    """Items of a run, mean over runs; those that several adapters answer count once."""
    return float(np.mean([len(table.names["item"].each) for table in tables]))


def _items_of_worst(counts: Array) -> float:
    """Items of each seed's worst site, mean over seeds; ``counts`` as in :func:`_thinnest`."""
    total = counts.sum(axis=0)
    worst = np.nanargmin(_ratio(total), axis=-1)
    return float(np.mean([sites[at, 1] for sites, at in zip(total, worst, strict=True)]))


def _thinnest(counts: Array) -> int:
    """Fewest clusters that any site has; ``counts`` is [clusters, seeds, sites, 2]."""
    held = (counts[..., 1] > 0).sum(axis=0)
    return int(held[held > 0].min())


def divide(top: Array, bottom: Array) -> Array:
    """Their ratio, NaN where there is nothing to divide by."""
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)


def _ratio(counts: Array) -> Array:
    return divide(counts[..., 0], counts[..., 1])


def _mean_site(counts: Array) -> Array:
    return np.asarray(np.nanmean(_ratio(counts), axis=-1), dtype=np.float64)


def _worst_site(counts: Array) -> Array:
    return np.asarray(np.nanmin(_ratio(counts), axis=-1), dtype=np.float64)


def deviation(shares: Array) -> Array:
    """Standard deviation over sites, the last axis; of these very sites, which are no sample."""
    return np.asarray(np.nanstd(shares, axis=-1), dtype=np.float64)


def _mean_f1(counts: Array) -> Array:
    """Mean over classes, then over adapters; an adapter that a seed lacks has no class at all."""
    by_class = divide(2 * counts[..., 0], counts[..., 1] + counts[..., 2])
    asked = counts[..., 2] > 0
    by_adapter = divide(np.where(asked, by_class, 0).sum(axis=-1), asked.sum(axis=-1) * 1.0)
    return np.asarray(np.nanmean(by_adapter, axis=-1), dtype=np.float64)
