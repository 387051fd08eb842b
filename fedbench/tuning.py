"""Learning rates and passes: the same search for every setting and method, on validation data.

Every setting is judged on the validation data it would really have: a local site on its own, a
federation on the weighted mean over its sites, the centralized site on the pool. Passes are one
number per task, backbone and method, so that settings stay at equal passes; learning rates are
chosen per setting. The seeds used here are never reported, and the test split is not scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedbench.config import TRAINED, RunConfig, Setting, parse_config
from fedbench.errors import FedbenchError
from fedbench.files import write_json
from fedbench.freshness import ROOT
from fedbench.grid import ensure_runs
from fedbench.locks import DATA_LOCK, locked
from fedbench.paths import shipped
from fedbench.profiles import (
    CELLS,
    TUNING,
    Cell,
    GridSpec,
    ProfileSpec,
    TuningSpec,
    asked_of_search,
    read_spec,
    searched,
    searches,
    tuning_digest,
)
from fedbench.provenance import fingerprint
from fedbench.resolving import resolve
from fedbench.store import Run

Point = tuple[Setting, float, float]  #: setting, learning rate, passes
Axes = tuple[Sequence[float], Sequence[float]]  #: learning rates, passes
Scores = dict[Point, float]  #: mean validation accuracy


def tune(profile: str, *, missing: bool = False) -> None:
    """Search every cell of ``profile`` and write its part of ``data/tuning.json``.

    With ``missing``, cells stay as they were found if the profile still asks the same of them.

    Raises:
        FedbenchError: the profile has no tuning section, or a run failed.
    """
    spec = read_spec(profile)
    search = spec.tuning
    if search is None:
        raise FedbenchError(f"The profile {profile} has nothing to tune: its values are fixed.")
    before = searched().get(profile)  # a damaged file is told before the search, not after it
    kept = _kept(spec, before) if missing and before else {}
    grids = {cell: grid for cell, grid in searches(spec).items() if cell.key not in kept}
    scores: dict[Cell, Scores] = {cell: {} for cell in grids}
    axes: dict[Cell, Axes] = {
        cell: (grid.learning_rates or search.learning_rates, grid.passes or search.passes)
        for cell, grid in grids.items()
    }
    for _ in range(search.extensions + 1):
        _fill(spec, search, grids, axes, scores)
        axes = {cell: _outward(axes[cell], scores[cell]) for cell in grids}
    # Read again: a search takes an hour, and another profile's may have ended meanwhile.
    with locked(shipped(TUNING).with_name(DATA_LOCK)):
        everything = searched() | {profile: _record(spec, scores, kept)}
        write_json(shipped(TUNING), everything | {"digest": tuning_digest(everything)})


def _kept(spec: ProfileSpec, before: Mapping[str, Any]) -> dict[str, Any]:
    """Cells of an earlier search that asked what today's would ask, each with its code."""
    then, today = {**before["search"]}, asked_of_search(spec)
    code = {"code": then.pop("code")}
    own, asked = then.pop(CELLS, {}), today.pop(CELLS)
    if then != today:
        return {}
    keys = {cell.key for cell in searches(spec)}
    return {
        key: code | found
        for key, found in before["cells"].items()
        if key in keys and own.get(key) == asked.get(key)
    }


def _record(
    spec: ProfileSpec, scores: Mapping[Cell, Scores], kept: Mapping[str, Any]
) -> dict[str, Any]:
    """What was searched, how, and what was chosen; what was kept names the code that found it."""
    found = {cell.key: _choice(one) for cell, one in scores.items()}
    return {
        "search": asked_of_search(spec) | {"code": fingerprint(ROOT)},
        "cells": {**kept, **found},
    }


def _fill(
    spec: ProfileSpec,
    search: TuningSpec,
    grids: Mapping[Cell, GridSpec],
    axes: Mapping[Cell, Axes],
    scores: dict[Cell, Scores],
) -> None:
    """Do all runs of the axes side by side and note what each point scored."""
    wanted = {
        (cell, (setting, rate, passes)): _configs(spec, search, grids[cell], cell, point)
        for cell, (rates, all_passes) in axes.items()
        for setting in grids[cell].settings
        if setting in TRAINED
        for rate in rates
        for passes in all_passes
        for point in [(setting, rate, passes)]
        if point not in scores[cell]
    }
    runs = {run.id: run for run in ensure_runs([c for some in wanted.values() for c in some])}
    for (cell, point), configs in wanted.items():
        found = [_validation(runs[config.id]) for config in configs]
        scores[cell][point] = _mean(found)


def _configs(
    spec: ProfileSpec, search: TuningSpec, grid: GridSpec, cell: Cell, point: Point
) -> list[RunConfig]:
    setting, rate, passes = point
    # A search may train on fewer examples than the runs it is for, never on more.
    common: dict[str, Any] = {**spec.common, **grid.common, **search.common}
    limits = [
        c["train_limit"] for c in (spec.common, grid.common, search.common) if "train_limit" in c
    ]
    if limits:
        common["train_limit"] = min(limits)
    fixed: dict[str, Any] = {
        **common,
        "task": cell.task,
        "backbone": cell.backbone,
        "method": cell.method,
        "rule": cell.rule,
        "setting": setting,
        "learning_rate": rate,
        "passes": passes,
        # The test split selects nothing: one item, never looked at, keeps the record whole.
        "test_limit": 1,
        "generated": 0,
        "partition": spec.partitions[-1].model_dump(),
    }
    return [resolve(parse_config({**fixed, "seed": seed})) for seed in search.seeds]


def _validation(run: Run) -> float:
    """Accuracy after the last round, over all validation items of all federations.

    Raises:
        FedbenchError: no site that trained holds a validation item.
    """
    last = {record["federation"]: record for record in run.rounds}.values()
    right = sum(
        record["validation_accuracy"] * record["n_validation"]
        for record in last
        if record["n_validation"]
    )
    asked = sum(record["n_validation"] for record in last)
    if not asked:
        raise FedbenchError(
            f"No training site of run {run.id} holds a validation item, so nothing can be chosen: "
            "raise validation_limit or lower partition.minimum."
        )
    return float(right / asked)


def _outward(axes: Axes, scores: Scores) -> Axes:
    """Learning rates with one more point beyond every edge that won in some setting.

    Passes stay within what the profile's time allows.
    """
    rates, passes = sorted(axes[0]), axes[1]
    chosen = _choice(scores)
    best = set(chosen["learning_rate"].values())
    step = rates[1] / rates[0] if len(rates) > 1 else 2.0
    below = [float(f"{rates[0] / step:.3g}")] if rates[0] in best else []
    above = [float(f"{rates[-1] * step:.3g}")] if rates[-1] in best else []
    return [*below, *rates, *above], passes


def _choice(scores: Scores) -> dict[str, Any]:
    """Passes with the best mean over settings of their best learning rate, and those rates."""
    all_passes = sorted({passes for _, _, passes in scores})
    settings = [setting for setting in TRAINED if any(setting == s for s, _, _ in scores)]
    best = {
        passes: {setting: _best_rate(scores, setting, passes) for setting in settings}
        for passes in all_passes
    }
    passes = max(
        all_passes,
        key=lambda p: (_mean([scores[s, best[p][s], p] for s in settings]), -p),
    )
    tried = sorted({rate for _, rate, _ in scores})
    return {
        "passes": passes,
        "learning_rate": best[passes],
        "learning_rates_tried": tried,
        "at_an_edge": [s for s, rate in best[passes].items() if rate in (tried[0], tried[-1])],
        "validation_accuracy": {s: round(scores[s, best[passes][s], passes], 4) for s in settings},
    }


def _best_rate(scores: Scores, setting: Setting, passes: float) -> float:
    """The rate with the highest accuracy; of equals the lowest, as the least likely to diverge."""
    mine = {rate: found for (s, rate, p), found in scores.items() if (s, p) == (setting, passes)}
    return max(mine, key=lambda rate: (mine[rate], -rate))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
