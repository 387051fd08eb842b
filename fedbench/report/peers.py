"""Published values of other systems, beside ours only where the work is the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError

from fedbench.errors import FedbenchError
from fedbench.files import read_yaml
from fedbench.frozen import Frozen
from fedbench.paths import shipped
from fedbench.problems import describe
from fedbench.report.cells import Cell, cells, whole
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd


class Published(Frozen):
    """One value as its source gives it; ``value`` is a fraction."""

    system: str
    source: str
    task: str
    backbone: str
    method: str
    setting: str
    split: str
    metric: str
    value: float


class _File(Frozen):
    values: tuple[Published, ...]


def published() -> tuple[Published, ...]:
    """What ``data/peers.yml`` holds.

    Raises:
        FedbenchError: the file is missing or says something that it cannot.
    """
    path = shipped("peers.yml")
    values = read_yaml(path)
    try:
        return _File.model_validate(values).values
    except ValidationError:
        raise FedbenchError(f"{path.name}: {describe(values, _File)}") from None


def beside_others(runs: Iterable[Run]) -> pd.DataFrame:
    """Published values on the tasks of ``runs``, each with ours, or with why ours is not there."""
    import pandas as pd

    found = [cell for cell in whole(cells(runs)) if cell.runs]
    tasks = {cell.config.task for cell in found}
    rows = [
        {
            **one.model_dump(include={"system", "task", "backbone", "method", "setting", "metric"}),
            "published": f"{100 * one.value:.4g}",
            "ours": _ours(one, found),
            "source": one.source,
            "runs": _ids(one, found),
        }
        for one in published()
        if one.task in tasks
    ]
    columns = ("system", "task", "backbone", "method", "setting", "metric", "published", "ours")
    return pd.DataFrame(rows, columns=[*columns, "source", "runs"])


def _ours(one: Published, found: Sequence[Cell]) -> str:
    """Our value of the same work in %, or what differs from the nearest of ours."""
    if not (mine := _same_work(one, found)):
        same = [cell for cell in found if cell.config.task == one.task]
        nearest = min((differences(one, cell) for cell in same), key=len)
        return f"not the same work: another {', '.join(nearest)}"
    mean = sum(float(run.metrics[one.metric]) for run in mine) / len(mine)
    return f"{100 * mean:.1f}"


def _same_work(one: Published, found: Sequence[Cell]) -> Sequence[Run]:
    """Our runs of the work behind a published value; empty if there is none."""
    mine = (cell for cell in found if cell.config.task == one.task and not differences(one, cell))
    return next((cell.runs for cell in mine), ())


def _ids(one: Published, found: Sequence[Cell]) -> str:
    return " ".join(run.id for run in _same_work(one, found))


def differences(one: Published, cell: Cell) -> list[str]:
    """In what our cell is not the work behind a published value."""
    config, metrics = cell.config, cell.runs[0].metrics
    method = "none" if config.setting == "base" else config.method
    ours = {
        "backbone": config.backbone.partition("@")[0],
        "method": method,
        "setting": config.setting,
        "split": metrics["split"],
    }
    unlike = [name for name, value in ours.items() if getattr(one, name) != value]
    return unlike + (["metric"] if one.metric not in metrics else [])
