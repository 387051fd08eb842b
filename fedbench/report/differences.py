"""Paired differences of settings, methods and backbones: what the claims of the paper are about."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fedbench.config import TRAINED
from fedbench.models.fresh_weights import SUFFIX
from fedbench.profiles import FEDAVG
from fedbench.report import stats
from fedbench.report.cells import Cell, Holders, alike, cells, holders, whole
from fedbench.report.scores import ACCURACY, OWN, mean_of, own_site, right_by_item
from fedbench.report.tables import facts_of
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

CONTRAST_COLUMNS = (
    *("task", "task_title", "backbone", "method", "setting", "partition", "contrast", "metric"),
    *("mean", "ci_low", "ci_high", "ci_kind", "n_seeds", "n_test", "smallest_difference"),
    *("mcnemar", "verdict", "synthetic", "runs"),
)

#: pairs of settings, and of methods within every trained setting
SETTING_CONTRASTS = (("federated", "local"), ("federated", "centralized"), ("centralized", "base"))
METHOD_CONTRASTS = (("qlora", "lora"), ("ia3", "lora"))
#: what cells must have in common to be compared, beside the backbone or the method
_ALIKE = (
    *("task", "setting", "partition", "rule", "own_passes", "optimizer"),
    *("labels", "train_limit", "test_limit"),
)


def contrasts(runs: Iterable[Run]) -> pd.DataFrame:
    """Differences of two settings, methods or backbones, paired over seeds and items, in fractions.

    Where settings are compared, the federated one is FedAvg; other rules stand in
    :func:`~fedbench.report.rule_table.rule_table`. Federated against local is compared on the
    common test set and on the sites' own items. Methods are compared within each trained setting,
    and so is a backbone with its untrained twin; the column of what is compared names both.
    """
    import pandas as pd

    found = whole(cells(runs))
    where = holders(found)
    rows = []
    for left, right in itertools.product(found, repeat=2):
        if _settings_compare(left, right):
            rows += _contrast_rows(left, right, "setting", where)
        elif _methods_compare(left, right):
            rows += _contrast_rows(left, right, "method", where)
        elif _weights_compare(left, right):
            rows += _contrast_rows(left, right, "backbone", where)
    return pd.DataFrame(rows, columns=list(CONTRAST_COLUMNS))


def _settings_compare(left: Cell, right: Cell) -> bool:
    pair = left.config.setting, right.config.setting
    same = left.about == right.about and left.config.labels == right.config.labels
    trained = right.config.setting == "base" or left.config.optimizer == right.config.optimizer
    usual = left.config.setting != "federated" or left.rule == FEDAVG
    return pair in SETTING_CONTRASTS and usual and same and trained and alike(left, right)


def _methods_compare(left: Cell, right: Cell) -> bool:
    pair = left.config.method, right.config.method
    same = left.config.backbone == right.config.backbone and _alike(left, right)
    return pair in METHOD_CONTRASTS and same


def _weights_compare(left: Cell, right: Cell) -> bool:
    twins = right.config.backbone == left.config.backbone + SUFFIX
    return twins and left.config.method == right.config.method and _alike(left, right)


def _alike(left: Cell, right: Cell) -> bool:
    trained = left.config.setting in TRAINED
    return trained and all(getattr(left.config, n) == getattr(right.config, n) for n in _ALIKE)


def _contrast_rows(left: Cell, right: Cell, differs: str, where: Holders) -> list[dict[str, Any]]:
    pairs = {ACCURACY: (mean_of(left, "correct"), mean_of(right, "correct"))}
    if right.config.setting == "local" != left.config.setting:
        dealt = left.config.partition
        pairs[OWN] = own_site(left, dealt, where), own_site(right, dealt, where)
    rows = []
    for metric, (a, b) in pairs.items():
        difference = stats.minus(a, b) if a and b else None
        if difference is not None:
            rows.append(_contrast_row(left, right, differs, metric, difference))
    return rows


def _contrast_row(
    left: Cell, right: Cell, differs: str, metric: str, difference: stats.Estimate
) -> dict[str, Any]:
    found = stats.interval(difference)
    facts = facts_of(left)
    names = ("task", "task_title", "backbone", "method", "setting", "partition")
    better, other = getattr(left.config, differs), getattr(right.config, differs)
    contrast = f"{better} − {other}"
    return {
        **{name: facts[name] for name in names},
        differs: contrast,
        "contrast": contrast,
        "metric": metric,
        "mean": found.mean,
        "ci_low": found.low,
        "ci_high": found.high,
        "ci_kind": found.kind,
        "n_seeds": max(1, len(difference.seeds)),
        "n_test": difference.items,
        "smallest_difference": stats.smallest_difference(found),
        "mcnemar": _within_seeds(left, right) if metric == ACCURACY else "",
        "verdict": _direction(found, better, other),
        "synthetic": facts["synthetic"],
        "runs": " ".join(run.id for run in (*left.runs, *right.runs)),
    }


def _within_seeds(left: Cell, right: Cell) -> str:
    """McNemar's p-value within each seed that both have, where each has one model to ask.

    The test knows no clusters, so there is none where items share a sentence or a fact.
    """
    found = []
    for seed, table in zip(left.seeds, left.tables, strict=True):
        if not right.seedless and seed not in right.seeds:
            continue
        other = right.tables[0 if right.seedless else right.seeds.index(seed)]
        mine, theirs = right_by_item(table), right_by_item(other)
        once = len(table) == len(other) == len(mine)
        if once and mine.keys() == theirs.keys() and len(table.names["cluster"].each) == len(mine):
            p = stats.mcnemar(list(mine.values()), [theirs[item] for item in mine])
            found.append(f"{p:.3g}")
    return " ".join(found)


def _direction(found: stats.Interval, left: str, right: str) -> str:
    if found.low > 0:
        return f"{left} higher"
    return f"{right} higher" if found.high < 0 else "no difference shown"
