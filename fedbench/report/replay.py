"""Runs that the repository keeps, some of them done again: does today's code still give the same?

The code moves on after runs were recorded. Doing all of them again takes hours; one per cell takes
minutes, and what came of it stands beside the recorded runs and in every caption drawn from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fedbench
from fedbench import grid, store
from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json
from fedbench.freshness import code_of, code_of_all
from fedbench.paths import CHECKOUT, fresh_home
from fedbench.profiles import short_name
from fedbench.provenance import provenance
from fedbench.store import Run


def replay(
    profile: str,
    *,
    do: Callable[[RunConfig], Run] = lambda config: fedbench.run(config, again=True),
) -> Mapping[str, Any]:
    """Do one recorded run of every cell of ``profile`` again, and keep what came of it.

    Raises:
        FedbenchError: no run of the profile is recorded, or its data are not here.
    """
    kept = [run for run in grid.found(profile) if run.recorded]
    if not kept:
        raise FedbenchError(
            f"No run of the profile {profile} is recorded: python -m fedbench record keeps them."
        )
    chosen = sample(kept)
    outcomes = {}
    with fresh_home():
        for place, then in enumerate(chosen, start=1):
            about = f"{then.config.task}, {then.config.backbone}, {then.config.method}"
            print(f"run {place} of {len(chosen)}: {about}", flush=True)
            code = {"code": code_of(then.config)}
            outcomes[then.id] = difference(then, do(then.config)) | code
    whole = code_of_all(run.config for run in chosen)
    said = {**provenance(whole), "recorded": len(kept), "runs": outcomes}
    write_json(_file(profile), said)
    return said


def sample(runs: Sequence[Run]) -> list[Run]:
    """One federated run per task, backbone and method: of a skewed partition, with the first seed.

    It goes through all that the other settings go through: training, payloads, the rule, scoring.
    """
    federated = [run for run in runs if run.config.setting == "federated"]
    federated.sort(key=lambda run: (run.config.partition.kind == "iid", run.config.seed))
    chosen: dict[tuple[str, str, str], Run] = {}
    for run in federated:
        chosen.setdefault((run.config.task, run.config.backbone, run.config.method), run)
    return [chosen[cell] for cell in sorted(chosen)]


def difference(then: Run, now: Run) -> dict[str, Any]:
    """How many items are predicted otherwise, of how many, and both accuracies."""
    columns = ["adapter", "item", "prediction"]
    both = then.items[columns].merge(now.items[columns], on=columns[:2], how="outer")
    return {
        "items": len(both),
        # An item that only one of them has is not predicted alike.
        "predicted_otherwise": int((both["prediction_x"] != both["prediction_y"]).sum()),
        "accuracy_then": float(then.metrics["accuracy"]),
        "accuracy_now": float(now.metrics["accuracy"]),
    }


def _file(profile: str) -> Path:
    return CHECKOUT / "data" / "recorded" / short_name(profile) / "replayed.json"


def outcome(profile: str) -> str:
    """What is said of the profile's recorded runs; empty if today's code did none of them again."""
    path = _file(profile)
    said = read_json(path) if path.exists() else {}
    runs = said.get("runs", {})
    moved = any(run.get("code") != code_of(store.load(key).config) for key, run in runs.items())
    if not runs or moved:
        return ""
    runs = runs.values()
    items = sum(run["items"] for run in runs)
    otherwise = sum(run["predicted_otherwise"] for run in runs)
    return (
        f"{len(runs)} of the {said['recorded']} recorded runs were done again with today's code: "
        f"{otherwise:,} of {items:,} predictions differ"
    )
