"""Bugs of released systems beside what is right: what each gains or loses, and what notices it.

A defective run is compared with the run that it spoils: same seeds, same test items, the same
learning rate, as many training examples. Where the best round on the test split is reported, a run
is compared with its own last round, which is one of those it chooses from: it cannot lose, so that
nothing is tested, and what is told is how much it flatters, mean and range over seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fedbench.defects import DEFECTS, Defect, defect_of, noticed_by, right_of
from fedbench.report import stats
from fedbench.report.cells import Cell, cells
from fedbench.report.scores import mean_of
from fedbench.report.tables import NOT_RUN, facts_of
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

GALLERY_COLUMNS = (
    *("defect", "after", "task", "task_title", "backbone", "method", "partition", "beside"),
    *("right", "wrong", "gain", "gain_low", "gain_high", "gain_kind", "gain_per_seed"),
    *("n_seeds", "n_test", "smallest_difference", "noticed_by", "verdict", "synthetic", "runs"),
)
NOTHING_SHOWN = "no difference shown"
ONLY_FLATTERS = "can only flatter"  #: the verdict on what cannot be below what is right
RANGE = "range over seeds"  #: what its ends are, least and greatest


def gallery(runs: Iterable[Run]) -> pd.DataFrame:
    """A row per defect and partition, in fractions, in the order of the gallery.

    ``gain`` is what the defect adds to accuracy on the common test items. It is paired over seeds
    and items; the interval stands for itself and is not adjusted for the number of defects. That of
    the best round has the range over seeds in its place (``gain_kind``) and is not tested.
    ``noticed_by`` is what our checks find when they are asked now.
    """
    import pandas as pd

    found = [cell for cell in cells(runs) if cell.runs]
    rows = [
        _row(cell, right)
        for cell in sorted((c for c in found if c.config.defective), key=_place)
        if (right := _beside(cell, found)) is not None
    ]
    return pd.DataFrame(rows, columns=list(GALLERY_COLUMNS))


def _place(cell: Cell) -> int:
    return [*DEFECTS].index(defect_of(cell.config).name)


def _beside(cell: Cell, found: Sequence[Cell]) -> Cell | None:
    """The cell that a defective one spoils; none if it was not run."""
    right = right_of(cell.config).model_copy(update={"seed": 0})
    return next((c for c in found if c.config.model_copy(update={"seed": 0}) == right), None)


def _row(cell: Cell, right: Cell) -> dict[str, Any]:
    defect, facts = defect_of(cell.config), facts_of(right)
    compared = _rounds(cell) if defect.best else _items(cell, right)
    names = ("task_title", "backbone", "method", "partition", "synthetic")
    return {
        **{name: facts[name] for name in names},
        "defect": defect.name,
        "after": defect.after,
        "task": cell.config.task,
        "beside": "its last round" if defect.best else defect.rule or right.config.task,
        **compared,
        "noticed_by": noticed_by(cell.config),
        "verdict": _verdict(defect, compared),
        "runs": " ".join(run.id for run in (*right.runs, *cell.runs)),
    }


def _items(cell: Cell, right: Cell) -> dict[str, Any]:
    """Scores of the last round on the test items, and their paired difference."""
    wrong, sound = mean_of(cell, "correct"), mean_of(right, "correct")
    difference = stats.minus(wrong, sound) if wrong and sound else None
    if wrong is None or sound is None or difference is None:
        return {"n_seeds": 0}
    found = stats.interval(difference)
    return {
        "right": sound.mean,
        "wrong": wrong.mean,
        "n_test": difference.items,
        "gain_kind": found.kind,
        "smallest_difference": stats.smallest_difference(found),
        **_told(difference.per_seed, found.mean, found.low, found.high),
    }


def _rounds(cell: Cell) -> dict[str, Any]:
    """The best round and the last of the same runs, on the test items of sites that took part."""
    scores = [[record["validation_accuracy"] for record in run.rounds] for run in cell.runs]
    last = np.array([each[-1] for each in scores])
    best = np.array([max(each) for each in scores])
    gains = best - last
    return {
        "right": last.mean(),
        "wrong": best.mean(),
        "n_test": np.mean([run.rounds[-1]["n_validation"] for run in cell.runs]),
        "gain_kind": RANGE,
        "smallest_difference": float("nan"),
        **_told(gains, gains.mean(), gains.min(), gains.max()),
    }


def _told(per_seed: stats.Array, mean: float, low: float, high: float) -> dict[str, Any]:
    return {
        "gain": mean,
        "gain_low": low,
        "gain_high": high,
        "gain_per_seed": " ".join(f"{value:.6g}" for value in per_seed),
        "n_seeds": len(per_seed),
    }


def _verdict(defect: Defect, row: Mapping[str, Any]) -> str:
    """In words, from the interval: of a rule that trains badly, or a score that is read badly."""
    if not row["n_seeds"]:
        return NOT_RUN
    if row["gain_kind"] == RANGE:
        return ONLY_FLATTERS
    if row["gain_low"] <= 0 <= row["gain_high"]:
        return NOTHING_SHOWN
    more = row["gain"] > 0
    if defect.rule:
        return "scores more, and is wrong" if more else "loses"
    return f"looks {'better' if more else 'worse'} than it is"


def say_bugs() -> str:
    """Every defect as a student meets it: what goes wrong, in two lines of pseudo-code."""
    return "\n\n".join(_bug(defect) for defect in DEFECTS.values())


def _bug(defect: Defect) -> str:
    about = f"**{defect.name}** (after {defect.after}). {defect.does}"
    return f"{about}\n\n```\nright:  {defect.right}\nwrong:  {defect.wrong}\n```"


def say_gallery(frame: pd.DataFrame) -> str:
    """For every defect what it did to the score, whose eyes could tell, and which check does."""
    lines = [_said(row) for row in frame.to_dict("records")]
    return "\n".join(lines) or f"The gallery: {NOT_RUN}."


def _said(row: Mapping[Any, Any]) -> str:
    defect = DEFECTS[row["defect"]]
    if not row["n_seeds"]:
        return f"- **{row['defect']}**, {row['partition']}: {NOT_RUN}."
    scores = f"{100 * row['wrong']:.1f} % instead of {100 * row['right']:.1f} %"
    return (
        f"- **{row['defect']}**, {row['partition']}: {row['verdict']} ({_points(row)}; {scores}). "
        f"Who would notice? {defect.eyes} What did notice: {row['noticed_by']}."
    )


def _points(row: Mapping[Any, Any]) -> str:
    gain, low, high = (f"{100 * row[name]:+.1f}" for name in ("gain", "gain_low", "gain_high"))
    if row["gain_kind"] == RANGE:
        return f"{gain} points, from {low} to {high} over {row['n_seeds']} seeds"
    seen = f"{100 * row['smallest_difference']:.1f} points would have been seen"
    return f"{gain} [{low}, {high}] points, where {seen}"
