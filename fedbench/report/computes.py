"""Runs that differ in nothing but how they are computed: does another way give another score?

A quantised backbone may multiply packed or dequantised, and all that is not quantised may be in
bf16. The first is meant to change nothing but speed, the second to cost little: one pair of runs
per task, on the same data, seeds and batches, shows whether it is so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from fedbench import profiles
from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.grid import ensure_runs
from fedbench.report import stats
from fedbench.resolving import resolve
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

#: what is compared: fields of the one run, and those that the other has instead
WAYS: Mapping[str, tuple[dict[str, str], dict[str, str]]] = {
    "NF4, dequantised or packed": (
        {"method": "qlora", "compute": "nf4-dequantised"},
        {"method": "qlora", "compute": "nf4"},
    ),
    "fp32 or bf16": (
        {"method": "lora", "compute": "plain", "dtype": "float32"},
        {"method": "lora", "compute": "plain", "dtype": "bfloat16"},
    ),
}
CAPTION = (
    "Runs that differ in nothing but how they are computed, one pair per task: federated training "
    "on the profile's most uneven partition. Predicted otherwise: test items whose answer changed; "
    "p: exact McNemar test within the pair."
)


class Pair(NamedTuple):
    """Two runs of one task."""

    what: str
    one: RunConfig
    other: RunConfig


def compare_computes(profile: str, device: str = "cpu") -> tuple[pd.DataFrame, list[Run]]:
    """Do both runs of every pair on ``device``; one row per pair, and the runs behind.

    Raises:
        FedbenchError: the profile has no federated run with LoRA, or a run failed.
    """
    import pandas as pd

    planned = list(pairs(profile, device))
    done = {run.id: run for run in ensure_runs([c for p in planned for c in (p.one, p.other)])}
    rows = [row(pair.what, done[pair.one.id], done[pair.other.id]) for pair in planned]
    return pd.DataFrame(rows), list(done.values())


def pairs(profile: str, device: str = "cpu") -> Iterator[Pair]:
    """For every task of ``profile``, each of the ways on its federated run with the first seed.

    Learning rates are those that were tuned for the method, else those of LoRA.
    """
    runs = [c for c in profiles.load(profile).runs if c.setting == "federated"]
    first = min((config.seed for config in runs), default=0)
    last: dict[tuple[str, str], RunConfig] = {}
    for config in runs:
        if config.seed == first:
            last[config.task, config.method] = config  # the last partition is the most uneven one
    tasks = sorted({task for task, method in last if method == "lora"})
    if not tasks:
        raise FedbenchError(
            f"Profile {profile} has no federated run with LoRA to start from: choose one that has, "
            "such as smoke."
        )
    for task in tasks:
        for what, (one, other) in WAYS.items():
            like = last.get((task, one["method"]), last[task, "lora"])
            where = {"device": device}
            yield Pair(what, _with(like, one | where), _with(like, other | where))


def _with(config: RunConfig, fields: Mapping[str, str]) -> RunConfig:
    return resolve(config.model_copy(update=fields))


def row(what: str, one: Run, other: Run) -> dict[str, Any]:
    """How much the two runs of a pair differ."""
    items = [run.items.sort_values("item") for run in (one, other)]
    predicted = [table["prediction"].to_numpy() for table in items]
    right = [table["prediction"].to_numpy() == table["gold"].to_numpy() for table in items]
    return {
        "task": one.metrics["task_title"],
        "backbone": one.config.backbone,
        "method": one.config.method,
        "compared": what,
        "device": one.config.device,
        "accuracy_one": float(right[0].mean()),
        "accuracy_other": float(right[1].mean()),
        "difference": float(right[1].mean() - right[0].mean()),
        "n_test": len(right[0]),
        "predicted_otherwise": int((predicted[0] != predicted[1]).sum()),
        "p_mcnemar": stats.mcnemar(right[0].tolist(), right[1].tolist()),
        "runs": f"{one.id} {other.id}",
    }
