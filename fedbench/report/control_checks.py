"""What the runs of one look-alike must show, each requirement as a row with its numbers.

Many negative controls are judged together, and each may fail by chance: their intervals are widened
so that all of them hold the truth with the usual probability (Bonferroni; Dunn (1961), J. American
Statistical Association 56). A wide interval holds chance whatever was learnt, so its half-width is
bounded as well: noise is no pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from fedbench.report import stats
from fedbench.report.cells import cells
from fedbench.report.differences import contrasts
from fedbench.report.scores import ACCURACY, mean_of
from fedbench.report.tables import main_results
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

GAP = "federated − local"
AT_CHANCE = "shuffled labels leave {} at chance"
WIDEST = 0.15  #: half-width beyond which an interval that holds chance shows nothing
_NONE = {"ci_low": float("nan"), "ci_high": float("nan")}


class Check(NamedTuple):
    """One requirement and what was found, in fractions."""

    requirement: str
    found: float
    low: float
    high: float
    ci_kind: str  #: with its level
    n_test: int
    n_seeds: int
    passed: bool
    runs: str  #: ids


def checks(
    spread: Sequence[Run], shuffled: Sequence[Run], plenty: Sequence[Run], family: int
) -> Iterator[Check]:
    """All requirements on the runs of one look-alike with one generator seed.

    Args:
        spread: every setting, facts spread over uneven sites.
        shuffled: the trained settings with shuffled labels; may be empty.
        plenty: local and federated, even sites and more wordings; may be empty.
        family: how many negative controls are judged together.
    """
    gap = _by(contrasts(spread), "contrast")[GAP]
    yield from _learnt(_by(main_results(spread), "setting"), gap)
    yield from _unlearnt(shuffled, family)
    if plenty:
        small = _by(contrasts(plenty), "contrast")[GAP]
        halved = small["mean"] < gap["mean"] / 2
        yield _check("even sites and more wordings halve the gap to local", small, halved)


def _learnt(scores: Mapping[str, Mapping[str, Any]], gap: Mapping[str, Any]) -> Iterator[Check]:
    base, central, federated = (scores[name] for name in ("base", "centralized", "federated"))
    chance = base["chance"]
    near = base["ci_low"] <= chance <= base["ci_high"] or abs(base["mean"] - chance) <= 0.10
    yield _check("base is at chance, or within 10 points", base, near)
    yield _check("centralized reaches 75 %", central, central["mean"] >= 0.75)
    gain = central["mean"] - base["mean"]
    share = (federated["mean"] - base["mean"]) / gain if gain > 0 else float("nan")
    runs = " ".join(row["runs"] for row in (federated, central, base))
    kept = {**federated, **_NONE, "mean": share, "ci_kind": "", "runs": runs}
    yield _check("federated keeps 75 % of centralized's gain over base", kept, share >= 0.75)
    beaten = gap["mean"] >= 0.08 and gap["ci_low"] > 0
    yield _check("federated is 8 points above local, interval above 0", gap, beaten)


def _unlearnt(shuffled: Sequence[Run], family: int) -> Iterator[Check]:
    rows = _by(main_results(shuffled), "setting") if shuffled else {}
    for cell in cells(shuffled):
        setting, score = cell.config.setting, mean_of(cell, "correct")
        assert score is not None  # every run has judged items
        wide = interval_at(score, 1 - (1 - stats.LEVEL) / family)
        row = {**rows[setting], "ci_low": wide.low, "ci_high": wide.high, "ci_kind": wide.kind}
        within = wide.low <= row["chance"] <= wide.high
        yield _check(AT_CHANCE.format(setting), row, within)
        half = {**row, **_NONE, "mean": wide.width / 2}
        requirement = f"the half-width of that interval is at most {100 * WIDEST:.0f} points"
        yield _check(f"{setting}: {requirement}", half, wide.width / 2 <= WIDEST)


def interval_at(score: stats.Estimate, level: float) -> stats.Interval:
    """The wider of the t intervals over seeds and over clusters of items, at any ``level``."""
    ways = [(score.error, score.independent - 1, stats.OVER_ITEMS)]
    if (seeds := len(score.seeds)) > 1:
        error = float(score.per_seed.std(ddof=1) / np.sqrt(seeds))
        ways.append((error, seeds - 1, stats.OVER_SEEDS))
    half, freedom, kind = max(
        (float(stdtrit(freedom, (1 + level) / 2)) * error, freedom, kind)
        for error, freedom, kind in ways
    )
    return stats.Interval(
        score.mean, score.mean - half, score.mean + half, _at(kind, level), freedom
    )


def _at(kind: str, level: float) -> str:
    return f"{kind}, {100 * level:.4g} %"


def _check(requirement: str, row: Mapping[str, Any], passed: bool) -> Check:
    bounds = (float(row["mean"]), float(row["ci_low"]), float(row["ci_high"]))
    plain = row["ci_kind"] in (stats.OVER_SEEDS, stats.OVER_ITEMS, stats.ONE_PROPORTION)
    kind = _at(row["ci_kind"], stats.LEVEL) if plain else row["ci_kind"]
    counts = int(row["n_test"]), int(row["n_seeds"])
    return Check(requirement, *bounds, kind, *counts, bool(passed), row["runs"])


def _by(frame: pd.DataFrame, column: str) -> dict[str, dict[str, Any]]:
    rows = frame[frame["metric"] == ACCURACY].to_dict("records")
    return {str(row[column]): {str(key): value for key, value in row.items()} for row in rows}
