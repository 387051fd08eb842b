"""Tables that describe what went in: data, sites, backbones and methods, rounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fedbench.config import PartitionConfig
from fedbench.errors import FedbenchError
from fedbench.report import stats
from fedbench.report.cells import POOLED, Cell, cells, whole
from fedbench.store import Run
from fedbench.tasks.specfile import read_spec

if TYPE_CHECKING:
    import pandas as pd

_COUNTS = {
    "rows": "rows",
    "distinct": "distinct",
    "removed_duplicates": "duplicates",
    "dropped_conflicts": "conflicts",
    "removed_overlap": "overlap_removed",
    "near_repeats": "near_repeats",
    "shared_between_owners": "shared_by_owners",
}

COMPOSITION_COLUMNS = (
    *("task", "task_title", "partition", "seed", "site", "trained", "n_train"),
    *("topic", "examples", "synthetic", "runs"),
)

RESOURCES_COLUMNS = (
    *("backbone", "method", "compute", "backbone_parameters", "trainable_parameters"),
    *("trainable_share", "backbone_bytes", "adapter_bytes", "bytes_down", "bytes_up", "tasks"),
)

CONVERGENCE_COLUMNS = (
    *("task", "task_title", "backbone", "method", "setting", "partition", "round", "rounds"),
    *("passes", "mean", "least", "greatest", "ci_low", "ci_high", "ci_kind", "n_seeds"),
    *("per_seed", "n_validation", "synthetic", "runs"),
)


def audit(runs: Iterable[Run]) -> pd.DataFrame:
    """One row per task: rows of the files, what was dropped and why, splits, labels, caveat."""
    import pandas as pd

    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(run.config.task, run)
    return pd.DataFrame([_audit_row(first[task]) for task in sorted(first)])


def _audit_row(run: Run) -> dict[str, Any]:
    metrics = run.metrics
    counted = metrics.get("audit", {})
    splits = counted.get("splits", {})
    sizes = {f"n_{name}": splits.get(name, metrics[f"n_{name}"]) for name in _SPLITS}
    return {
        "task": run.config.task,
        "task_title": metrics["task_title"],
        "domain": metrics["domain"],
        **{column: counted.get(name) for name, column in _COUNTS.items()},
        **sizes,
        "trained_on": metrics["n_train"],
        "tested_on": metrics["n_test"],
        "balance": _balance(metrics),
        "cut": _cut(metrics),
        "split": metrics["split"],
        "scoring": metrics["scoring"],
        "licence": metrics.get("licence") or _licence(run.config.task),
        "files": _hashes(run),
        "synthetic": bool(metrics["synthetic"]),
        "note": metrics.get("note", ""),
        "runs": run.id,
    }


_SPLITS = ("train", "validation", "test")


def _licence(task: str) -> str:
    """As the task's file states it today, for runs recorded before they kept it themselves."""
    try:
        return read_spec(task)[0].licence or "not stated"
    except FedbenchError:
        return "not known: the task's file has gone"


def _balance(metrics: Mapping[str, Any]) -> str:
    """Every label with its share of the whole test split; the labels alone where not counted."""
    labels = [str(label) for label in metrics["labels"]]
    counts = metrics.get("audit", {}).get("labels", {}).get("test", {})
    total = sum(counts.values())
    shares = [f"{label} {100 * counts.get(label, 0) / total:.0f} %" for label in labels if total]
    return ", ".join(shares or labels)


def _cut(metrics: Mapping[str, Any]) -> str:
    """Prompts that lost their beginning, of those used: training and test."""
    counts = metrics.get("cut_prompts")
    if counts is None:
        return ""
    return ", ".join(f"{counts.get(name, 0)} {name}" for name in ("train", "test"))


def _hashes(run: Run) -> str:
    """The files by name, each with the beginning of its hash."""
    sources = run.provenance.get("sources", {})
    return ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(sources.items()))


def composition(runs: Iterable[Run]) -> pd.DataFrame:
    """Training examples per task, partition, site and topic, as dealt by the lowest seed."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    seen: set[tuple[str, PartitionConfig]] = set()
    for cell in whole(cells(runs)):
        key = (cell.config.task, _dealt(cell.config.partition))
        if cell.runs and not cell.pooled and key not in seen:
            seen.add(key)
            rows += _composition_rows(cell)
    return pd.DataFrame(rows, columns=list(COMPOSITION_COLUMNS))


def _dealt(partition: PartitionConfig) -> PartitionConfig:
    """As far as it says who holds which examples."""
    deals = ("kind", "sites", "alpha", "minimum")
    return PartitionConfig(**{name: getattr(partition, name) for name in deals})


def _composition_rows(cell: Cell) -> list[dict[str, Any]]:
    run = cell.runs[0]
    topics = sorted({topic for site in run.sites for topic in site["topics"]})
    return [
        {
            "task": cell.config.task,
            "task_title": run.metrics["task_title"],
            "partition": cell.partition,
            "seed": run.config.seed,
            "site": site["site"],
            "trained": bool(site.get("trained", True)),
            "n_train": site["n_train"],
            "topic": topic,
            "examples": site["topics"].get(topic, 0),
            "synthetic": bool(run.metrics["synthetic"]),
            "runs": run.id,
        }
        for site in run.sites
        for topic in topics
    ]


def resources(runs: Iterable[Run]) -> pd.DataFrame:
    """One row per backbone and method: sizes, and bytes really sent per site and round.

    Units: parameters are counted, sizes are bytes. Payloads come from federated runs of honest
    sites and are zero where there is none.
    """
    import pandas as pd

    groups: dict[tuple[str, str], list[Run]] = {}
    for cell in whole(cells(run for run in runs if run.config.setting != "base")):
        groups.setdefault(cell.about[1:], []).extend(cell.runs)
    rows = [_resource_row(group) for group in groups.values() if group]
    return pd.DataFrame(rows, columns=list(RESOURCES_COLUMNS))


def _resource_row(runs: Sequence[Run]) -> dict[str, Any]:
    run, metrics = runs[0], runs[0].metrics
    whole = metrics.get("backbone_parameters", float("nan"))
    federated = [run for run in runs if run.config.setting == "federated"]
    return {
        "backbone": run.config.backbone,
        "method": run.config.method,
        "compute": run.config.compute,
        "backbone_parameters": whole,
        "trainable_parameters": metrics["trainable_parameters"],
        "trainable_share": metrics["trainable_parameters"] / whole,
        "backbone_bytes": metrics["backbone_bytes"],
        "adapter_bytes": metrics["adapter_bytes"],
        "bytes_down": _per_message(federated, "bytes_down"),
        "bytes_up": _per_message(federated, "bytes_up"),
        "tasks": ", ".join(dict.fromkeys(run.config.task for run in runs)),
    }


def _per_message(runs: Sequence[Run], name: str) -> float:
    """Mean payload in bytes of one site in one round; zero where nothing was federated."""
    records = [record for run in runs for record in run.rounds]
    messages = sum(len(record["cohort"]) for record in records)
    return sum(record[name] for record in records) / messages if messages else 0.0


def convergence(runs: Iterable[Run]) -> pd.DataFrame:
    """Validation accuracy after each round: mean, least and greatest over seeds, in fractions.

    The interval is Student's t over seeds; without a second seed there is none.

    Each setting is scored on validation data it would really have: a local model on its own site's
    (mean over sites), the federated one on all sites' (weighted by examples), the centralized one
    on the pool.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for cell in whole(cells(runs)):
        if cell.runs and cell.config.setting != "base":
            rows += rounds_of(cell)
    return pd.DataFrame(rows, columns=list(CONVERGENCE_COLUMNS))


def rounds_of(cell: Cell) -> list[dict[str, Any]]:
    """A row of :func:`convergence` per round that every seed of a cell has.

    What sites do alone after the last round is no round.
    """
    by_seed = [_per_round(run) for run in cell.runs]
    metrics, config = cell.runs[0].metrics, cell.config
    rows = []
    for number in sorted(set.intersection(*(set(rounds) for rounds in by_seed))):
        values = [rounds[number] for rounds in by_seed]
        row = {
            "task": config.task,
            "task_title": metrics["task_title"],
            "backbone": config.backbone,
            "method": config.method,
            "setting": config.setting,
            "partition": cell.partition,
            "round": number,
            "rounds": config.rounds,
            "passes": (config.passes - config.own_passes) * number / config.rounds,
            "mean": sum(values) / len(values),
            "least": min(values),
            "greatest": max(values),
            **_interval(values),
            "n_seeds": len(values),
            "per_seed": " ".join(f"{value:.6g}" for value in values),
            "n_validation": metrics["n_validation"],
            "synthetic": bool(metrics["synthetic"]),
            "runs": " ".join(run.id for run in cell.runs),
        }
        rows.append(row)
    return rows


def _interval(values: Sequence[float]) -> dict[str, Any]:
    """Where the mean over seeds may lie; unknown from a single seed."""
    if len(values) < 2:
        return {"ci_low": float("nan"), "ci_high": float("nan"), "ci_kind": "none: one seed"}
    found = stats.seed_interval(np.asarray(values))
    low, high = max(0.0, found.low), min(1.0, found.high)
    return {"ci_low": low, "ci_high": high, "ci_kind": found.kind}


def _per_round(run: Run) -> dict[int, float]:
    """Rounds done -> validation accuracy, mean over federations with validation examples."""
    found: dict[int, list[float]] = {}
    for record in run.rounds:
        value = record.get("validation_accuracy")
        if record["round"] < run.config.rounds and value is not None and value == value:
            found.setdefault(int(record["round"]) + 1, []).append(float(value))
    return {number: sum(values) / len(values) for number, values in found.items()}


def partitions(frame: pd.DataFrame) -> list[str]:
    """Labels of the partitions in a frame, in the order of tables, without the pooled one."""
    return [str(name) for name in frame["partition"].unique() if name != POOLED]
