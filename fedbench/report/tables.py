"""The main table as a plain frame, a row per score, and the form of it that people read.

Values are fractions. Differences of cells are in :mod:`fedbench.report.differences`.

How a frame is rendered and written, with the runs it came from, is in
:mod:`fedbench.report.writing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fedbench.config import SETTINGS, PartitionConfig, RunConfig
from fedbench.errors import FedbenchError
from fedbench.report import stats
from fedbench.report.cells import (
    POOLED,
    Cell,
    Holders,
    alike,
    beside,
    cells,
    held_for_training,
    holders,
    whole,
)
from fedbench.report.origin import titled
from fedbench.report.scores import ACCURACY, METRICS, OWN, WORST, mean_of, own_site
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

NOT_RUN = "not run"
SIGNIFICANT = 0.05  #: an adjusted p-value below this is said to differ
REFERENCES = ("chance", "majority", "blind")
MARKS = {"chance": "†", "majority": "‡", "blind": "§"}

MAIN_COLUMNS = (
    *("task", "task_title", "backbone", "method", "setting", "partition", "sites"),
    *("sites_trained", "rule"),
    *("metric", "mean", "ci_low", "ci_high", "ci_kind", "n_seeds", "n_seeds_planned"),
    "per_seed",
    *("n_train", "n_test", "split", "scoring", "compute", "labels", "passes", "steps", "flops"),
    *("chance", "majority", "blind", "p_chance", "p_majority", "p_blind"),
    *("smallest_difference", "not_above", "verdict", "synthetic", "note", "runs"),
)

#: what predictors without skill score on a site's own items is not asked
_UNKNOWN = dict.fromkeys(REFERENCES, float("nan"))


def main_results(runs: Iterable[Run], planned: Iterable[RunConfig] = ()) -> pd.DataFrame:
    """Every score of every cell, with interval, n, and whether it differs from guessing.

    Values are fractions. ``n_test`` counts the items behind a value, mean over seeds; for the worst
    site those of that site alone. ``p_*`` belong to accuracy on the common test set: one-sided,
    paired, clustered over items, Holm-adjusted over the whole table. ``not_above`` names the
    predictors without skill that it is not shown to beat, by p-value and interval alike.
    ``smallest_difference`` is the distance from a fixed reference that would have been seen with a
    power of 80 %. A cell that is ``planned`` but has no run is there, and says so.
    """
    import pandas as pd

    found = whole(cells(runs, planned))
    where = holders(found)
    rows = [row for cell in found for row in _cell_rows(cell, where, _partitions(cell, found))]
    frame = pd.DataFrame(rows, columns=list(MAIN_COLUMNS))
    tests = [f"p_{reference}" for reference in REFERENCES]
    adjusted = stats.holm(frame[tests].to_numpy(dtype=float).ravel().tolist())
    frame[tests] = pd.DataFrame([adjusted[i : i + 3] for i in range(0, len(adjusted), 3)])
    tested = [row | p for row, p in zip(rows, frame[tests].to_dict("records"), strict=True)]
    frame["not_above"] = [", ".join(_not_shown_above(row)) for row in tested]
    frame["verdict"] = [_verdict(row) for row in frame.to_dict("records")]
    return frame


def _partitions(cell: Cell, found: Iterable[Cell]) -> dict[PartitionConfig, str]:
    """Partitions of the cell's task by name: its own, or all that a setting without sites fits."""
    same = [other for other in found if other.config.task == cell.config.task and not other.pooled]
    dealt = [other for other in same if alike(cell, other)] if cell.pooled else [cell]
    return {other.config.partition: other.partition for other in dealt}


def _cell_rows(
    cell: Cell, where: Holders, partitions: Mapping[PartitionConfig, str]
) -> list[dict[str, Any]]:
    if not cell.runs:
        return [_absent_row(cell)]
    facts = facts_of(cell)
    rows = []
    for metric, score in METRICS.items():
        if (estimate := score(cell)) is not None:
            tests = _against_references(cell) if metric == ACCURACY else {}
            rows.append(facts | score_row(cell, metric, estimate) | tests)
    for partition, name in partitions.items():
        for metric in (OWN, WORST):
            own = own_site(cell, partition, where, worst=metric == WORST)
            if own is not None:
                rows.append(facts | _UNKNOWN | score_row(cell, metric, own) | {"partition": name})
    return rows


def score_row(cell: Cell, metric: str, score: stats.Estimate) -> dict[str, Any]:
    """A score with its interval, its seeds and items, and what it could have shown."""
    found = stats.interval(score)
    return {
        "metric": metric,
        "mean": found.mean,
        "ci_low": max(0.0, found.low),
        "ci_high": min(1.0, found.high),
        "ci_kind": found.kind,
        "n_seeds": len(cell.runs),
        "n_test": score.items,
        "per_seed": " ".join(f"{value:.6g}" for value in score.per_seed),
        "smallest_difference": stats.smallest_difference(found),
    }


def _absent_row(cell: Cell) -> dict[str, Any]:
    return {**_asked(cell), "metric": ACCURACY, "n_seeds": 0}


def _asked(cell: Cell) -> dict[str, Any]:
    """What is known of a cell without running it."""
    config = cell.config
    return {
        "task": config.task,
        "task_title": config.task,
        "backbone": config.backbone,
        "method": config.method,
        "setting": config.setting,
        "partition": cell.partition,
        "sites": 1 if cell.pooled else config.partition.sites,
        "rule": cell.rule if config.setting == "federated" else "none",
        "compute": config.compute,
        "labels": config.labels,
        "n_seeds_planned": cell.planned,
    }


def facts_of(cell: Cell) -> dict[str, Any]:
    """What a cell's runs say about themselves."""
    metrics = cell.runs[0].metrics
    copied = {name: metrics[name] for name in ("task_title", "split")}
    references = {
        name: _mean([float(table.numbers[name].mean()) for table in cell.tables])
        for name in REFERENCES
    }
    return {
        **_asked(cell),
        **copied,
        **references,
        **_used(cell),
        "scoring": metrics["scoring"],
        "passes": 0.0 if cell.config.setting == "base" else cell.passes,
        "steps": _mean([_number(run.metrics["steps"]) for run in cell.runs]),
        # Not counted by runs from before, and not told by sites whose examples are private.
        "flops": _mean([_number(run.metrics.get("flops")) for run in cell.runs]),
        "synthetic": bool(metrics["synthetic"]),
        "note": metrics.get("note", ""),
        "runs": " ".join(run.id for run in cell.runs),
    }


def _number(value: float | None) -> float:
    """NaN where nothing is known."""
    return float("nan") if value is None else float(value)


def _used(cell: Cell) -> dict[str, float]:
    """Sites and examples that were really trained on, mean over seeds."""
    if cell.config.setting == "base":
        return {"sites_trained": 0.0, "n_train": 0.0}
    trained = [[site for site in run.sites if site["trained"]] for run in cell.runs]
    return {
        "sites_trained": _mean([float(len(sites)) for sites in trained]),
        "n_train": _mean([float(held_for_training(run)) for run in cell.runs]),
    }


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values))


def _against_references(cell: Cell) -> dict[str, float]:
    """Of accuracy above each predictor without skill: ``p_`` over items, one-sided, not adjusted.

    ``low_`` is the lower end of the difference's interval.
    """
    own = mean_of(cell, "correct")
    found = {}
    for reference in REFERENCES:
        other = mean_of(cell, reference)
        if difference := stats.minus(own, other) if own and other else None:
            found[f"p_{reference}"] = stats.p_above(difference)
            found[f"low_{reference}"] = stats.interval(difference).low
    return found


def _not_shown_above(row: Mapping[Any, Any]) -> list[str]:
    """The predictors without skill that accuracy is not shown to beat.

    The p-value is conditional on the trained models. Where there are several, one for each seed,
    the interval, which counts seeds too, must lie above zero as well.
    """
    if not row["n_seeds"] or row["metric"] != ACCURACY:
        return []
    return [
        name
        for name in REFERENCES
        if not row[f"p_{name}"] < SIGNIFICANT or (row["n_seeds"] > 1 and row[f"low_{name}"] <= 0)
    ]


def _verdict(row: Mapping[Any, Any]) -> str:
    if not row["n_seeds"]:
        return NOT_RUN
    if row["metric"] != ACCURACY:
        return ""
    below = not_above(row)
    return f"not above {', '.join(below)}" if below else "above chance, majority and blind"


def not_above(row: Mapping[Any, Any]) -> list[str]:
    """The predictors without skill that a row of :func:`main_results` is not shown to beat."""
    return [name for name in REFERENCES if name in row["not_above"].split(", ")]


def wide(frame: pd.DataFrame, metric: str = ACCURACY) -> pd.DataFrame:
    """The table that people read: a row per task, backbone, method and partition.

    Each setting is ``mean [low, high]`` in %, accuracy marked where it is not shown to beat chance
    (†), the training majority (‡) or a scorer that never saw the question (§); its last column says
    what may be concluded. Nothing of the kind is known of other metrics: they lack these columns.

    Raises:
        FedbenchError: the frame has two results for one place, such as those of two rules.
    """
    import pandas as pd

    chosen = frame[(frame["metric"] == metric) & (frame["labels"] == "true")]
    keys = ["task", "backbone", "method"]
    rows = []
    for _, group in chosen.groupby(keys, sort=False):
        partitions = [name for name in group["partition"].unique() if name != POOLED]
        for partition in partitions or [POOLED]:
            rows.append(_wide_row(group[beside(group, partition)], partition))
    table = pd.DataFrame(rows)
    known = [] if metric == ACCURACY else ["chance", "majority", "verdict"]
    return table.drop(columns=known, errors="ignore")


def _wide_row(group: pd.DataFrame, partition: str) -> dict[str, Any]:
    by_setting = {row["setting"]: row for row in group.to_dict("records")}
    if len(by_setting) < len(group):
        about = " ".join(str(group.iloc[0][name]) for name in ("task", "backbone", "method"))
        raise FedbenchError(
            f"The wide table has one place for each setting of {about}, {partition}, and the frame "
            "has more: give it the results of one rule and one set of hyperparameters."
        )
    first = next((row for row in by_setting.values() if row["n_seeds"]), None)
    first = first or next(iter(by_setting.values()))
    return {
        "task": titled(first["task_title"], first["synthetic"] is True),
        "backbone": first["backbone"].partition("@")[0],
        "method": first["method"],
        "partition": partition,
        **{setting: _wide_cell(by_setting.get(setting)) for setting in SETTINGS},
        "chance": _percent(first["chance"]),
        "majority": _percent(first["majority"]),
        "n_test": _sizes(list(by_setting.values())),
        "verdict": conclusion(list(by_setting.values())),
    }


def _wide_cell(row: Mapping[Any, Any] | None) -> str:
    if row is None or not row["n_seeds"]:
        return NOT_RUN
    marks = "".join(MARKS[name] for name in not_above(row))
    low, high = 100 * row["ci_low"], 100 * row["ci_high"]
    seeds, asked = row["n_seeds"], row["n_seeds_planned"]
    part = f" ({seeds} of {asked} seeds)" if seeds < asked else ""
    return f"{100 * row['mean']:.1f} [{low:.1f}, {high:.1f}]{marks}{part}"


def _sizes(rows: Sequence[Mapping[Any, Any]]) -> int | str:
    """Items behind the values of a row, from least to greatest where settings differ."""
    sizes = sorted({round(row["n_test"]) for row in rows if row["n_seeds"]})
    if not sizes:
        return ""
    return sizes[0] if len(sizes) == 1 else f"{sizes[0]}–{sizes[-1]}"


def _percent(value: float) -> str:
    return "" if value != value else f"{100 * value:.1f}"


def conclusion(rows: Sequence[Mapping[Any, Any]]) -> str:
    """What the settings of one row of the table, taken together, allow to be said."""
    ordered = sorted(rows, key=lambda row: SETTINGS.index(row["setting"]))
    run = [row for row in ordered if row["n_seeds"] and row["metric"] == ACCURACY]
    if not run:
        return NOT_RUN
    if all("chance" in not_above(row) for row in run):
        return "none is shown to beat guessing: nothing can be concluded"
    skilled = [row["setting"] for row in run if not not_above(row)]
    if not skilled:
        none = "none is shown to beat all predictors without skill"
        return f"{none}: nothing about the questions is shown"
    rest = [
        f"{row['setting']} not above {', '.join(below)}" for row in run if (below := not_above(row))
    ]
    return "; ".join([f"above guessing: {', '.join(skilled)}", *rest])
