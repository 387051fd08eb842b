"""Accuracy of a cell, and by how much it differs from the cell that it is held against."""

from __future__ import annotations

from typing import Any

from fedbench.report import stats
from fedbench.report.cells import Cell
from fedbench.report.scores import mean_of

LOSES, NOTHING_SHOWN, GAINS = "loses", "no difference shown", "scores more"


def accuracy(cell: Cell) -> dict[str, Any]:
    """``mean`` with its interval, and on how many test items; nothing where there is no run."""
    score = mean_of(cell, "correct")
    if score is None:
        return {}
    found = stats.interval(score)
    return {
        "mean": found.mean,
        "ci_low": max(0.0, found.low),
        "ci_high": min(1.0, found.high),
        "ci_kind": found.kind,
        "n_test": score.items,
    }


def change(cell: Cell, usual: Cell | None, name: str) -> dict[str, Any]:
    """Accuracy less that of ``usual``, paired over seeds and items, and what that shows.

    Nothing where one of them has no run. ``name`` is the column of the accuracy of ``usual``.
    """
    score, other = mean_of(cell, "correct"), mean_of(usual, "correct") if usual else None
    difference = stats.minus(score, other) if score and other else None
    if other is None or difference is None:
        return {}
    found = stats.interval(difference)
    return {
        name: other.mean,
        "change": found.mean,
        "change_low": found.low,
        "change_high": found.high,
        "change_kind": found.kind,
        "verdict": _verdict(found),
    }


def _verdict(found: stats.Interval) -> str:
    if found.low <= 0 <= found.high:
        return NOTHING_SHOWN
    return GAINS if found.mean > 0 else LOSES
