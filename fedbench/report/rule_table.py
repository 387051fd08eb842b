"""Every rule beside FedAvg: accuracy, what it gains, and whether that is more than chance.

Rules are compared within a task, backbone, method, optimizer and partition, paired over seeds and
items. How many rules are tried decides how easily one of them looks best, so p-values are adjusted
over them. Where sites end with adapters of their own there is no shared one to compare on the
common items, only a mean over sites: such rules are compared on what sites ask themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from statistics import median
from typing import TYPE_CHECKING, Any

from fedbench.profiles import ADAMW, FEDAVG
from fedbench.report import stats
from fedbench.report.cells import COVERAGE, Cell, Holders, cells, coverage, holders, whole
from fedbench.report.gains import gains_over, untested
from fedbench.report.scores import ACCURACY, OWN, WORST, score_of
from fedbench.report.tables import SIGNIFICANT, facts_of, score_row
from fedbench.rules import is_personal
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

TARGET = 0.8  #: accuracy on validation data
RULE_METRICS = (ACCURACY, OWN, WORST)
NOT_TESTED = "own adapters, not tested"  #: on common items, beside a shared adapter
RULE_COLUMNS = (
    *("task", "task_title", "backbone", "method", "optimizer", "partition", "rule", "metric"),
    *COVERAGE,
    *("mean", "ci_low", "ci_high", "ci_kind", "n_seeds", "n_test", "per_seed"),
    *(
        "gain",
        "gain_low",
        "gain_high",
        "gain_kind",
        "gain_per_seed",
        "p",
        "smallest_difference",
        "verdict",
    ),
    *(
        "bytes_up",
        "bytes_down",
        "rounds",
        "rounds_to_target",
        "megabytes_to_target",
        "passes",
        "learning_rate",
        "synthetic",
        "runs",
    ),
)
_ALIKE = ("task", "backbone", "method", "partition", "optimizer", "labels", "train_limit")


def rule_table(runs: Iterable[Run], target: float = TARGET) -> pd.DataFrame:
    """A row per rule, partition and metric, in fractions.

    ``rounds_to_target`` and ``megabytes_to_target`` (both directions, all sites) tell how soon the
    accuracy on validation data first reached ``target``: median over seeds, none where a seed never
    did.

    ``gain`` is the difference to FedAvg on the same task, backbone, method, optimizer and
    partition; ``p`` its two-sided p-value, adjusted by Holm's method over the rules that were tried
    there, and ``smallest_difference`` what would have been seen after it with a power of 80 %. On
    the common items, rules under which sites end with adapters of their own have neither, and are
    :data:`NOT_TESTED`. Bytes are of all rounds and sites. They and the sites and examples that
    trained, of all there were, are means over seeds.
    """
    import pandas as pd

    found = [cell for cell in whole(cells(runs)) if cell.config.setting == "federated"]
    where = holders(found)
    rows = [
        row | to_target(cell, target)
        for group in beside_fedavg(found)
        for cell, row in _group_rows(group, where)
    ]
    return pd.DataFrame(rows, columns=list(RULE_COLUMNS))


def beside_fedavg(found: Sequence[Cell]) -> list[list[Cell]]:
    """Cells that differ in their rule only, FedAvg first, the others by name."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in found:
        groups.setdefault(tuple(getattr(cell.config, name) for name in _ALIKE), []).append(cell)
    return [
        sorted(group, key=lambda cell: (cell.rule != FEDAVG, cell.rule))
        for group in groups.values()
    ]


def _group_rows(group: Sequence[Cell], where: Holders) -> list[tuple[Cell, dict[str, Any]]]:
    rows = []
    for metric in RULE_METRICS:
        found = {c: score_of(c, metric, c.config.partition, where) for c in group}
        scores = {cell: score for cell, score in found.items() if score}
        told = _told(metric, scores)
        rows += [(cell, _row(cell, metric, score) | told[cell]) for cell, score in scores.items()]
    return rows


def _told(metric: str, scores: Mapping[Cell, stats.Estimate]) -> dict[Cell, dict[str, Any]]:
    """What each cell gains over FedAvg, those that are comparable adjusted together."""
    usual = next((score for cell, score in scores.items() if cell.rule == FEDAVG), None)
    others = {cell: score for cell, score in scores.items() if usual and cell.rule != FEDAVG}
    apart = [cell for cell in others if metric == ACCURACY and is_personal(cell.config)]
    compared = {cell: score for cell, score in others.items() if cell not in apart}
    nothing = dict.fromkeys(scores, untested()) | dict.fromkeys(apart, untested(NOT_TESTED))
    return nothing | gains_over(usual, compared, _verdict)


def _verdict(found: stats.Interval, p: float) -> str:
    better = "above" if found.mean > 0 else "below"
    return f"{better} FedAvg" if p < SIGNIFICANT else "no difference to FedAvg shown"


def _row(cell: Cell, metric: str, score: stats.Estimate) -> dict[str, Any]:
    facts, covered = facts_of(cell), [coverage(run) for run in cell.runs]
    names = ("task", "task_title", "backbone", "method", "partition", "rule", "passes")
    return {
        **{name: facts[name] for name in (*names, "synthetic", "runs")},
        **score_row(cell, metric, score),
        "optimizer": cell.config.optimizer,
        **{name: _mean([one[name] for one in covered]) for name in COVERAGE},
        "bytes_up": _mean([run.metrics["bytes_up"] for run in cell.runs]),
        "bytes_down": _mean([run.metrics["bytes_down"] for run in cell.runs]),
        "rounds": cell.config.rounds,
        "learning_rate": cell.config.learning_rate,
    }


def to_target(cell: Cell, target: float = TARGET) -> dict[str, Any]:
    """Rounds and megabytes until ``target``: median over seeds, NaN where a seed never had it."""
    reached = [first_at(run, target) for run in cell.runs]
    if not reached or None in reached:
        return {"rounds_to_target": float("nan"), "megabytes_to_target": float("nan")}
    rounds, sent = zip(*filter(None, reached), strict=True)
    return {"rounds_to_target": median(rounds), "megabytes_to_target": median(sent) / 1e6}


def first_at(run: Run, target: float = TARGET) -> tuple[int, int] | None:
    """Rounds, and bytes in both directions, until validation accuracy first was ``target``.

    What sites do alone after the last round is no round: there is no shared adapter to score.
    """
    for record, sent in zip(run.rounds, sent_until(run), strict=True):
        shared = record["round"] < run.config.rounds
        if shared and (record["validation_accuracy"] or 0.0) >= target:
            return record["round"] + 1, sent
    return None


def sent_until(run: Run) -> list[int]:
    """Bytes of training, both directions and all sites, up to and with each round."""
    return list(accumulate(record["bytes_down"] + record["bytes_up"] for record in run.rounds))


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values))


def say_rules(frame: pd.DataFrame) -> str:
    """Whether any rule is shown to beat FedAvg, for each partition and metric, in words."""
    groups: dict[tuple[str, str, str], list[dict[Any, Any]]] = {}
    for row in frame[frame["gain"].notna()].to_dict("records"):
        about = (row["task_title"], trained_where(row), _WORDS[row["metric"]])
        groups.setdefault(about, []).append(row)
    lines = [f"- {', '.join(about)}: {_said(rows)}." for about, rows in groups.items()]
    return "\n".join(lines) or "Nothing was run beside FedAvg."


def trained_where(row: Mapping[Any, Any]) -> str:
    """Name of a row's partition, with the optimizer where that is not the usual one."""
    usual = row["optimizer"] == ADAMW
    return str(row["partition"]) if usual else f"{row['partition']}, {row['optimizer']}"


def _said(rows: Sequence[Mapping[Any, Any]]) -> str:
    shown: dict[str, list[str]] = {}
    for row in rows:
        if row["p"] < SIGNIFICANT:
            shown.setdefault(row["verdict"], []).append(row["rule"])
    told = "; ".join(f"{', '.join(rules)} {verdict}" for verdict, rules in shown.items())
    best = max(rows, key=lambda row: row["gain"])
    gain, low, high = (f"{100 * best[name]:+.1f}" for name in ("gain", "gain_low", "gain_high"))
    return (
        f"{told or 'no rule is shown to differ from FedAvg'} (p adjusted over {len(rows)} rules; "
        f"the best is {best['rule']} with {gain} [{low}, {high}] points, where, so "
        f"adjusted, {100 * best['smallest_difference']:.1f} points would have been seen)"
    )


_WORDS = {ACCURACY: "common test items", OWN: "the sites' own items", WORST: "the worst site"}
