"""What cells gain over one that all of them are held against, adjusted together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fedbench.report import stats
from fedbench.report.cells import Cell

#: what a table calls a gain, of its interval and its adjusted p-value
Verdict = Callable[[stats.Interval, float], str]


def gains_over(
    usual: stats.Estimate | None, scores: Mapping[Cell, stats.Estimate], verdict: Verdict
) -> dict[Cell, dict[str, Any]]:
    """The gain of each score over ``usual``, as columns; p adjusted by Holm's method over all.

    Cells that have no seed or item in common with it are left out, and so is everything if there
    is none.
    """
    gains = {
        cell: gain
        for cell, score in scores.items()
        if usual and (gain := stats.minus(score, usual))
    }
    p = stats.holm([stats.p_differs(gain) for gain in gains.values()])
    return {
        cell: _columns(gain, one, len(gains), verdict)
        for (cell, gain), one in zip(gains.items(), p, strict=True)
    }


def untested(why: str = "") -> dict[str, Any]:
    """The columns of a score without a gain; ``why`` is their verdict."""
    return {"verdict": why, "smallest_difference": float("nan")}  # a gain's, not a score's


def _columns(gain: stats.Estimate, p: float, tests: int, verdict: Verdict) -> dict[str, Any]:
    found = stats.interval(gain)
    return {
        "gain": found.mean,
        "gain_low": found.low,
        "gain_high": found.high,
        "gain_kind": found.kind,
        "gain_per_seed": " ".join(f"{value:.6g}" for value in gain.per_seed),
        "p": p,
        "smallest_difference": min(1.0, stats.smallest_difference(found, tests)),
        "verdict": verdict(found, p),
    }
