"""What it costs that sites differ: FedAvg beside training alone and beside pooling, by partition.

How much sites differ is what a run measured on the examples they train on, not what its partition
is called: a Dirichlet parameter means little of itself, and less when there are more sites. The
measures, too, rise with the number of sites by chance alone, because small sites differ by chance
and because the greatest spread of K updates is 1 - 1/K: only partitions with as many sites compare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fedbench.config import TRAINED
from fedbench.profiles import FEDAVG
from fedbench.report import stats
from fedbench.report.cells import Cell, Holders, cells, counterpart, coverage, holders, whole
from fedbench.report.scores import ACCURACY, OWN, SPREAD, WORST, score_of
from fedbench.report.tables import SIGNIFICANT, facts_of
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

#: of the examples that sites train on, each between 0 and 1: how far their answers and their topics
#: are from those of all sites (Jensen-Shannon divergence), and how uneven their sizes (Gini)
MEASURES = ("label_divergence", "topic_divergence", "size_imbalance")
#: of the updates that sites send: 0 if all are the same, 1 - 1/K if K are orthogonal and as long
SPREADS = ("update_spread", "update_spread_first")
OTHERS = ("local", "centralized")  #: what FedAvg is compared with
#: in which more is better, so that a gain is one
GAINED = (ACCURACY, OWN, WORST)
HETEROGENEITY_METRICS = (*GAINED, SPREAD)


def _bounds(*names: str) -> tuple[str, ...]:
    return tuple(name + end for name in names for end in ("", "_low", "_high"))


HETEROGENEITY_COLUMNS = (
    *("task", "task_title", "backbone", "method", "optimizer", "partition", "kind", "alpha"),
    *("besides", "sites", "sites_trained", "n_train", "n_train_all"),
    *(*_bounds(*MEASURES, *SPREADS), "metric"),
    *_bounds(*TRAINED),
    *("ci_kind", "n_seeds", "n_test"),
    *(
        column
        for other in OTHERS
        for column in (
            *_bounds(f"gain_over_{other}"),
            f"gain_kind_over_{other}",
            *(f"p_over_{other}", f"smallest_over_{other}", f"over_{other}"),
        )
    ),
    *("synthetic", "runs"),
)
_FAMILY = ("task", "backbone", "method", "optimizer", "metric")


class _Scored(NamedTuple):
    """A row of the table, and what FedAvg has more than each other setting that was run."""

    row: dict[str, Any]
    gains: Mapping[str, stats.Estimate]

    @property
    def family(self) -> tuple[Any, ...]:
        """What rows that are tested together have in common."""
        return tuple(self.row[name] for name in _FAMILY)


def heterogeneity(runs: Iterable[Run]) -> pd.DataFrame:
    """A row per partition that FedAvg was run on, and metric; scores are fractions.

    Measures of how much sites differ are means over seeds with Student's interval, none where runs
    did not record them; ``update_spread`` is a mean over rounds. ``besides`` is what sites differ
    in beside the examples they hold. ``n_train`` are the examples of the ``sites_trained``, which
    are the sites whose own items are scored, ``n_train_all`` those of all ``sites``: centralized
    has them all.

    ``gain_over_`` another setting is paired over seeds and items; ``p_over_`` is its two-sided
    p-value, adjusted by Holm's method over all partitions of the same task, backbone, method,
    optimizer and metric, and ``smallest_over_`` the difference that would have been seen after
    that. A spread of accuracies has neither: more of it is no gain. A federation with neither
    setting beside it has nothing to be compared with and is left out, as are federations without
    one of their sites.
    """
    import pandas as pd

    found = [cell for cell in whole(cells(runs)) if cell.runs]
    where = holders(found)
    scored: list[_Scored] = []
    for cell in found:
        if (cell.config.setting, cell.rule) == ("federated", FEDAVG):
            beside = {other: counterpart(cell, found, other) for other in OTHERS}
            if any(beside.values()):
                scored += _rows(cell, beside, where)
    for other in OTHERS:
        for family in _families(scored, other):
            _compare(family, other)
    return pd.DataFrame([one.row for one in scored], columns=list(HETEROGENEITY_COLUMNS))


def _families(scored: Sequence[_Scored], other: str) -> Iterable[list[_Scored]]:
    """Rows that are compared with a setting, those that are tested together in one list."""
    found: dict[tuple[Any, ...], list[_Scored]] = {}
    for one in scored:
        if other in one.gains:
            found.setdefault(one.family, []).append(one)
    return found.values()


def _compare(family: Sequence[_Scored], other: str) -> None:
    """Say of every row of a family what it gains over a setting, adjusted over the family."""
    gains = [one.gains[other] for one in family]
    adjusted = stats.holm([stats.p_differs(gain) for gain in gains])
    for one, gain, p in zip(family, gains, adjusted, strict=True):
        found = stats.interval(gain)
        higher = "above" if found.mean > 0 else "below"
        shown = f"{higher} {other}" if p < SIGNIFICANT else f"no difference to {other} shown"
        low, high = max(-1.0, found.low), min(1.0, found.high)
        one.row.update(_bounded(f"gain_over_{other}", found.mean, low, high))
        one.row[f"gain_kind_over_{other}"] = found.kind
        one.row[f"p_over_{other}"] = p
        # No difference of two shares is larger than 1: then none would have been seen.
        seen = min(1.0, stats.smallest_difference(found, tests=len(family)))
        one.row[f"smallest_over_{other}"] = seen
        one.row[f"over_{other}"] = shown


def _rows(cell: Cell, beside: Mapping[str, Cell | None], where: Holders) -> list[_Scored]:
    known = {"federated": cell} | {name: other for name, other in beside.items() if other}
    facts, partition = facts_of(cell), cell.config.partition
    names = ("task", "task_title", "backbone", "method", "partition", "sites", "sites_trained")
    about = {
        **{name: facts[name] for name in (*names, "n_train", "synthetic")},
        "optimizer": cell.config.optimizer,
        "kind": partition.kind,
        "alpha": partition.alpha,
        "besides": partition.label.partition("+")[2],
        **_measured(cell.runs),
        "n_train_all": float(np.mean([coverage(run)["n_train_all"] for run in cell.runs])),
        "n_seeds": len(cell.runs),
        "runs": " ".join(run.id for one in known.values() for run in one.runs),
    }
    rows = []
    for metric in HETEROGENEITY_METRICS:
        scores = {name: score_of(one, metric, partition, where) for name, one in known.items()}
        there = {name: score for name, score in scores.items() if score is not None}
        if "federated" in there:
            rows.append(_scored(about | {"metric": metric}, there))
    return rows


def _scored(about: Mapping[str, Any], scores: Mapping[str, stats.Estimate]) -> _Scored:
    """Every setting's score, and what the federation has more than each other one."""
    federated = scores["federated"]
    row = {**about, "n_test": federated.items, "ci_kind": stats.interval(federated).kind}
    for setting, score in scores.items():
        found = stats.interval(score)
        row |= _bounded(setting, found.mean, max(0.0, found.low), min(1.0, found.high))
    if row["metric"] not in GAINED:
        return _Scored(row | {f"over_{other}": "" for other in OTHERS}, {})
    paired = {other: stats.minus(federated, scores[other]) for other in OTHERS if other in scores}
    gains = {other: gain for other, gain in paired.items() if gain is not None}
    return _Scored(row | {f"over_{other}": f"{other} not run" for other in OTHERS}, gains)


def _measured(runs: Sequence[Run]) -> dict[str, float]:
    recorded = [run.metrics.get("heterogeneity") or {} for run in runs]
    values = {name: [one.get(name) for one in recorded] for name in MEASURES}
    spreads = [[record.get("update_spread") for record in run.rounds] for run in runs]
    values["update_spread"] = [_mean(of_run) for of_run in spreads]
    values["update_spread_first"] = [_mean(of_run[:1]) for of_run in spreads]
    row: dict[str, float] = {}
    for name, found in values.items():
        row |= _bounded(name, *_over_seeds([value for value in found if value is not None]))
    return row


def _mean(values: Sequence[float | None]) -> float | None:
    """None where nothing is known, as of a round whose updates were all zero."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _over_seeds(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and interval of a share; NaN without a value, no interval without a second."""
    nothing = float("nan")
    if len(values) < 2:
        return values[0] if values else nothing, nothing, nothing
    found = stats.seed_interval(np.asarray(values))
    return found.mean, max(0.0, found.low), min(1.0, found.high)


def _bounded(name: str, mean: float, low: float, high: float) -> dict[str, float]:
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def say_heterogeneity(frame: pd.DataFrame) -> str:
    """On how many partitions FedAvg is above or below each other setting, and where most."""
    lines = []
    keys = ["task_title", "backbone", "method", "optimizer"]
    for _, part in frame.groupby(keys, sort=False):
        title = part["task_title"].iloc[0]
        for metric, words in _WORDS.items():
            scored = part[part["metric"] == metric]
            said = "; ".join(_against(scored, other) for other in OTHERS)
            lines.append(f"- {title}, {words}: {said}.")
        single = part.drop_duplicates("partition")
        lines += [f"- {title}: {said}." for said in (_left_out(single), _updates(single)) if said]
    return "\n".join(lines) or "FedAvg was not run beside another setting."


_WORDS = {
    ACCURACY: "common test items",
    OWN: "the sites' own items",
    WORST: "the worst site",
}


def _against(scored: pd.DataFrame, other: str) -> str:
    known = scored[scored[f"gain_over_{other}"].notna()]
    if known.empty:
        return f"{other} not run"
    verdicts = list(known[f"over_{other}"])
    least, most = (
        "{:+.1f} [{:+.1f}, {:+.1f}] points on {}".format(
            *(100 * row[name] for name in _bounds(f"gain_over_{other}")), row["partition"]
        )
        for row in _ends(known, f"gain_over_{other}")
    )
    return (
        f"of {len(known)} partitions federated is shown above {other} on "
        f"{verdicts.count(f'above {other}')} and below on {verdicts.count(f'below {other}')} (p "
        f"adjusted over them), from {least} to {most} (the extremes of {len(known)}; their "
        "intervals are not adjusted)"
    )


def _left_out(part: pd.DataFrame) -> str:
    """Where sites are too small to train: how many, and what share of the examples they hold."""
    fewer = part[part["sites_trained"] < part["sites"]]
    told = [
        f"{row['partition']} {row['sites_trained']:.3g} of {row['sites']:g} sites with "
        f"{100 * row['n_train'] / row['n_train_all']:.1f} % of the examples"
        for row in fewer.to_dict("records")
    ]
    return (
        f"sites too small to train are neither trained on nor scored on their own items, while "
        f"centralized has their examples; trained and scored are on {'; on '.join(told)}"
        if told
        else ""
    )


def as_many_sites(part: pd.DataFrame) -> pd.DataFrame:
    """The rows of partitions with the number of sites that most partitions have."""
    counts: list[int] = part.drop_duplicates("partition")["sites"].tolist()
    commonest = max(sorted({*counts}), key=counts.count, default=0)
    return part[part["sites"] == commonest]


def _updates(part: pd.DataFrame) -> str:
    """How the spread of updates goes with what sites hold, over partitions with as many sites."""
    known = as_many_sites(part[part["update_spread"].notna() & part["label_divergence"].notna()])
    if known.empty:
        return "how much sites and their updates differ is not recorded"
    ends = _ends(known, "update_spread")
    least, most = (f"{row['update_spread']:.2f} on {row['partition']}" for row in ends)
    sites = f"{known['sites'].iloc[0]:g} sites"
    said = f"of {sites}, updates of a round differ from {least} to {most}"
    ranks = [known[name].rank() for name in ("label_divergence", "update_spread")]
    if len(known) < _ENOUGH or any(rank.nunique() < 2 for rank in ranks):
        return said
    return (
        f"{said}; over these {len(known)} partitions their rank correlation with the divergence of "
        f"labels is {ranks[0].corr(ranks[1]):+.2f} (a description, not a test)"
    )


def _ends(known: pd.DataFrame, name: str) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """The rows with the least and with the greatest value."""
    rows = known.sort_values(name, kind="stable").to_dict("records")
    return rows[0], rows[-1]


_ENOUGH = 5  #: fewer partitions have no correlation worth telling
