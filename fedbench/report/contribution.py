"""What does each site contribute? The federation of all sites, less the one without that site.

The difference is the site's leave-one-out value. It is no Shapley value: it asks what is missed
when a site leaves everybody, not what it adds to every smaller federation. Two sites that hold the
same facts therefore both get zero, though the federation needs one of them; and the values of all
sites do not add up to anything.

A site of one seed is not the site of the same number under another, because the partition is drawn
by seed: there is a row for each. All sites of a seed are compared with the same federation of all,
so their values rise and fall together with its luck; the interval of a mean over sites is therefore
one over seeds, unless that over items is wider. The interval of a single site is over items alone,
and holds for the two adapters that were compared: that training once more would give others is not
in it, and one seed of a site cannot tell.

Sources:
    Leaving one out: Cook (1977), *Detection of influential observation in linear regression*,
    Technometrics 19(1).
    As the value of data, and why Shapley's differs: Ghorbani, Zou (2019), *Data Shapley*, ICML,
    arXiv:1904.02868.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fedbench.config import RunConfig
from fedbench.report import stats
from fedbench.report.cells import Cell, Holders, cells, holders, whole
from fedbench.report.scores import clusters_of, divide, right_by_item
from fedbench.report.tables import NOT_RUN, SIGNIFICANT, facts_of
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

COMMON, OTHERS, OWN = "common", "others", "own"
CONTRIBUTES, HARMS, OPEN = "contributes", "harms", "no difference shown"
TOO_SMALL = "too small to train"

#: which test items are asked, from who holds an item (nobody: empty) and the site left out
ITEMS: Mapping[str, Callable[[str, str], bool]] = {
    COMMON: lambda holder, site: True,
    OTHERS: lambda holder, site: holder not in ("", site),
    OWN: lambda holder, site: holder == site,
}
_ABOUT = ("task", "task_title", "backbone", "method", "partition", "rule")
CONTRIBUTION_COLUMNS = (
    *(*_ABOUT, "items", "seed", "site", "n_train", "n_test", "all_sites", "without_site"),
    *("contribution", "contribution_low", "contribution_high", "mcnemar", "verdict"),
    *("synthetic", "runs"),
)
SUMMARY_COLUMNS = (
    *(*_ABOUT, "items", "mean", "ci_low", "ci_high", "ci_kind", "n_seeds", "n_sites", "n_test"),
    *("per_seed", "smallest_difference", "contributing", "harming", "idle", "missing"),
    *("rank_correlation", "rank_low", "rank_high", "synthetic", "runs"),
)


class _Answer(NamedTuple):
    """One test item, answered by the federation of all sites and by the one without a site."""

    cluster: str
    every: bool
    fewer: bool


Answers = Mapping[tuple[int, str], Sequence[_Answer]]  #: by seed and site left out


@dataclass(frozen=True)
class _Trial:
    """A federation of all sites with those that lack one, by the number of the site they lack."""

    every: Cell
    fewer: Mapping[int, Cell]

    def site(self, seed: int, number: int) -> Mapping[str, Any]:
        """What a site of one seed holds."""
        sites: Sequence[Mapping[str, Any]] = self.every.runs[self.every.seeds.index(seed)].sites
        return sites[number]

    def runs_of(self, seed: int, number: int) -> str:
        """The two runs that are compared; the first alone where the other was not run."""
        both = (self.every, *filter(None, [self.fewer.get(number)]))
        return " ".join(run.id for cell in both for run in cell.runs if run.config.seed == seed)


def contribution(runs: Iterable[Run]) -> pd.DataFrame:
    """A row per seed, site and kind of test items, in fractions.

    ``contribution`` is the accuracy of the federation of all sites less that of the one without
    the site: on all test items (``common``), on those of the other sites together (``others``), and
    on its ``own``. Its interval is clustered over items; ``mcnemar`` is the exact two-sided p-value
    on these items, adjusted by Holm's method over the sites of the same seed. McNemar's test knows
    no clusters, so a site is shown to contribute only where p-value and interval say so.

    A site that is too small to train contributes nothing by construction and is not tested.
    """
    import pandas as pd

    rows = [
        row
        for trial, where in _trials(runs)
        for items in ITEMS
        for seed in trial.every.seeds
        for row in _rows(trial, seed, items, _answers(trial, where, items))
    ]
    return pd.DataFrame(rows, columns=list(CONTRIBUTION_COLUMNS))


def contribution_summary(runs: Iterable[Run]) -> pd.DataFrame:
    """A row per partition and kind of test items: the mean over sites that train, and over seeds.

    ``rank_correlation`` is Spearman's, of contribution and training examples, taken within each
    seed and averaged, with Student's t interval over seeds: pooled, it would mistake the luck of a
    seed's federation for an effect of size. ``n_sites`` counts pairs of seed and site.
    """
    import pandas as pd

    runs = list(runs)
    single = contribution(runs)
    rows = [
        _summary_row(trial, items, answers, single)
        for trial, where in _trials(runs)
        for items in ITEMS
        if (answers := _answers(trial, where, items))
    ]
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def _trials(runs: Iterable[Run]) -> Iterator[tuple[_Trial, Holders]]:
    found = [cell for cell in cells(runs) if cell.runs]
    fewer: dict[RunConfig, dict[int, Cell]] = {}
    for cell in found:
        if (number := cell.config.partition.without) is not None:
            fewer.setdefault(_of_all(cell.config), {})[number] = cell
    where = holders(found)
    for cell in whole(found):
        if lacking := fewer.get(_of_all(cell.config)):
            yield _Trial(cell, lacking), where


def _of_all(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"seed": 0, "partition": config.partition.whole})


def _answers(trial: _Trial, where: Holders, items: str) -> dict[tuple[int, str], list[_Answer]]:
    """What both federations answer to the items that are asked, where both were run."""
    found: dict[tuple[int, str], list[_Answer]] = {}
    config = trial.every.config
    for seed, table in zip(trial.every.seeds, trial.every.tables, strict=True):
        held, every = where[config.task, config.partition, seed], right_by_item(table)
        clusters = clusters_of(table)
        for number, other in trial.fewer.items():
            site = trial.site(seed, number)
            if seed in other.seeds and site.get("trained", True):
                fewer, name = right_by_item(other.tables[other.seeds.index(seed)]), site["site"]
                asked = [i for i in every if ITEMS[items](held.get(i, ""), name)]
                if asked:
                    found[seed, name] = [_Answer(clusters[i], every[i], fewer[i]) for i in asked]
    return found


def _estimate(answers: Answers) -> stats.Estimate:
    """What is gained by a site: mean over the sites of a seed, paired over items."""
    seeds, sites = (sorted(set(names)) for names in zip(*answers, strict=True))
    clusters = sorted({one.cluster for mine in answers.values() for one in mine})
    place = {cluster: number for number, cluster in enumerate(clusters)}
    counts = np.zeros((len(clusters), len(seeds), len(sites), 3))
    for (seed, site), mine in answers.items():
        for one in mine:
            at = place[one.cluster], seeds.index(seed), sites.index(site)
            counts[at] += (one.every, one.fewer, 1)
    asked = float(np.mean([len(mine) for mine in answers.values()]))
    score = stats.estimate(counts, _mean_over_sites, seeds, clusters)
    return replace(score, bounded=False, items=asked)


def _mean_over_sites(counts: stats.Array) -> stats.Array:
    gained = divide(counts[..., 0] - counts[..., 1], counts[..., 2])
    known = counts[..., 2] > 0
    return divide(np.where(known, gained, 0.0).sum(axis=-1), known.sum(axis=-1) * 1.0)


def _rows(trial: _Trial, seed: int, items: str, answers: Answers) -> Iterator[dict[str, Any]]:
    facts = facts_of(trial.every)
    sites = trial.every.runs[trial.every.seeds.index(seed)].sites
    names = [str(site["site"]) for site in sites]
    asked = {name: answers[seed, name] for name in names if (seed, name) in answers}
    p = stats.holm([_mcnemar(mine) for mine in asked.values()])
    adjusted = dict(zip(asked, p, strict=True))
    for number, site in enumerate(sites):
        name = names[number]
        yield {
            **{about: facts[about] for about in (*_ABOUT, "synthetic")},
            **{"items": items, "seed": seed, "site": name, "n_train": site["n_train"]},
            "runs": trial.runs_of(seed, number),
            **(
                _found({(seed, name): asked[name]}, adjusted[name])
                if name in asked
                else {"verdict": NOT_RUN if site.get("trained", True) else TOO_SMALL}
            ),
        }


def _mcnemar(mine: Sequence[_Answer]) -> float:
    return stats.mcnemar([one.every for one in mine], [one.fewer for one in mine])


def _found(answers: Answers, p: float) -> dict[str, Any]:
    """Of one site under one seed."""
    (mine,) = answers.values()
    found = stats.interval(_estimate(answers))
    return {
        "n_test": len(mine),
        "all_sites": sum(one.every for one in mine) / len(mine),
        "without_site": sum(one.fewer for one in mine) / len(mine),
        "contribution": found.mean,
        "contribution_low": max(-1.0, found.low),
        "contribution_high": min(1.0, found.high),
        "mcnemar": p,
        "verdict": _verdict(found, p),
    }


def _verdict(found: stats.Interval, p: float) -> str:
    if p >= SIGNIFICANT or found.low <= 0 <= found.high:
        return OPEN
    return CONTRIBUTES if found.mean > 0 else HARMS


def _summary_row(
    trial: _Trial, items: str, answers: Answers, single: pd.DataFrame
) -> dict[str, Any]:
    facts = facts_of(trial.every)
    about = {name: facts[name] for name in _ABOUT} | {"items": items}
    rows = single[(single[list(about)] == about).all(axis=1)]
    score = _estimate(answers)
    found = stats.interval(score)
    shown = rows["verdict"].value_counts()
    return {
        **about,
        "mean": found.mean,
        "ci_low": max(-1.0, found.low),
        "ci_high": min(1.0, found.high),
        "ci_kind": found.kind,
        "n_seeds": len(score.seeds),
        "n_sites": len(answers),
        "n_test": score.items,
        "per_seed": " ".join(f"{value:.6g}" for value in score.per_seed),
        "smallest_difference": stats.smallest_difference(found),
        "contributing": int(shown.get(CONTRIBUTES, 0)),
        "harming": int(shown.get(HARMS, 0)),
        "idle": int(shown.get(TOO_SMALL, 0)),
        "missing": int(shown.get(NOT_RUN, 0)),
        **_ranked(rows[rows["contribution"].notna()]),
        "synthetic": facts["synthetic"],
        "runs": " ".join(dict.fromkeys(" ".join(rows["runs"]).split())),
    }


def _ranked(rows: pd.DataFrame) -> dict[str, float]:
    """Rank correlation of contribution and size within each seed: mean, and interval over seeds."""
    by_seed = [
        part["contribution"].rank().corr(part["n_train"].rank()) for _, part in rows.groupby("seed")
    ]
    known = np.array([value for value in by_seed if value == value])
    if not len(known):
        return {}
    if len(known) < 2:
        return {"rank_correlation": float(known[0])}
    found = stats.seed_interval(known)
    low, high = max(-1.0, found.low), min(1.0, found.high)
    return {"rank_correlation": found.mean, "rank_low": low, "rank_high": high}


_WHERE = {
    COMMON: "the common test items",
    OTHERS: "the other sites' own items",
    OWN: "the left-out site's own items",
}


def say_contribution(summary: pd.DataFrame) -> str:
    """What a site is worth to a federation by leaving it out, in words."""
    lines = [_said(row) for row in summary.to_dict("records")]
    return "\n".join(lines) or "No federation was run without one of its sites."


def _said(row: Mapping[Any, Any]) -> str:
    mean, low, high = (f"{100 * row[name]:+.1f}" for name in ("mean", "ci_low", "ci_high"))
    least = 100 * row["smallest_difference"]
    return (
        f"- {row['task_title']}, {row['partition']}, {row['rule']}, on {_WHERE[row['items']]}: "
        f"leaving a site out costs {mean} points [{low}, {high}] on average over "
        f"{row['n_sites']} sites of {row['n_seeds']} seeds ({least:.1f} points would have been "
        f"seen). Shown to contribute: {row['contributing']}; to harm: {row['harming']} (McNemar "
        "within a site, adjusted over the sites of a seed, and an interval that agrees; of the two "
        "adapters at hand, and training again might differ)."
        f"{_said_of_size(row)}{_said_of_idle(row)}"
    )


def _said_of_size(row: Mapping[Any, Any]) -> str:
    rank, low, high = (row[name] for name in ("rank_correlation", "rank_low", "rank_high"))
    if low != low:
        return " Whether larger sites contribute more cannot be told from one seed."
    shown = "Larger sites contribute more" if low > 0 else "Larger sites contribute less"
    words = shown if low > 0 or high < 0 else "That size decides is not shown"
    return f" {words}: rank correlation within a seed {rank:+.2f} [{low:+.2f}, {high:+.2f}]."


def _said_of_idle(row: Mapping[Any, Any]) -> str:
    found = {"too small to train, so nothing is lost without them": row["idle"],
             "not run": row["missing"]}  # fmt: skip
    return "".join(f" Sites {words}: {count}." for words, count in found.items() if count)
