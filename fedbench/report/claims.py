"""Claims about the report itself, checked at the end of every notebook.

Those of the paper are decided in :mod:`fedbench.report.verdicts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from fedbench.config import TRAINED
from fedbench.errors import FedbenchError
from fedbench.report.cells import Cell, cells
from fedbench.report.scores import macro_f1, mean_of
from fedbench.store import Run

TABLE = ("csv", "md", "tex", "json")
FIGURE = ("png", "pdf", "csv", "json")


def check_written(folder: Path, names: Sequence[str], kinds: Sequence[str]) -> None:
    """Every file of the named tables (:data:`TABLE`) or figures (:data:`FIGURE`) is there.

    Raises:
        FedbenchError: naming those that are missing or empty.
    """
    paths = [folder / f"{name}.{kind}" for name in names for kind in kinds]
    missing = [path.name for path in paths if not path.is_file() or not path.stat().st_size]
    if missing:
        raise FedbenchError(f"{folder} lacks {', '.join(missing)}: run the notebook again.")


def check_equal_passes(runs: Iterable[Run], tolerance: float = 0.05) -> None:
    """Trained settings of one task, backbone and method processed each example equally often.

    ``tolerance`` is a share of the passes: whole batches and cohorts drawn at random cannot hit
    them exactly.

    Raises:
        FedbenchError: naming the first comparison that is not fair.
    """
    check_passes_of(cells(runs), tolerance)


def check_passes_of(found: Iterable[Cell], tolerance: float = 0.05) -> None:
    """The same of cells."""
    seen: dict[tuple[str, str, str], list[float]] = {}
    for cell in found:
        if cell.runs and cell.config.setting in TRAINED:
            seen.setdefault(cell.about, []).append(cell.passes)
    for about, passes in seen.items():
        if max(passes) > (1 + tolerance) * min(passes):
            raise FedbenchError(
                f"Settings of {', '.join(about)} processed each example {min(passes):.3g} to "
                f"{max(passes):.3g} times: give them the same number of passes in the profile."
            )


def check_scores(runs: Iterable[Run]) -> None:
    """Accuracy and macro-F1 computed again from the items are those that each run recorded.

    Raises:
        FedbenchError: naming the first run whose items say something else.
    """
    check_scores_of(cells(runs))


def check_scores_of(found: Iterable[Cell]) -> None:
    """The same of cells, whose items are then read only once."""
    for cell in (cell for cell in found if cell.runs):
        for name, score in (("accuracy", mean_of(cell, "correct")), ("macro_f1", macro_f1(cell))):
            recorded = sum(float(run.metrics[name]) for run in cell.runs) / len(cell.runs)
            if score is None or abs(score.mean - recorded) > 1e-6:
                said = "nothing" if score is None else f"{score.mean:.6f}"
                ids = " ".join(run.id for run in cell.runs)
                raise FedbenchError(
                    f"{name} of {ids} is recorded as {recorded:.6f}, its items say {said}: "
                    "remove these runs and compute them again."
                )
