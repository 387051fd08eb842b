"""Where the search for a learning rate ended at the last value that it tried."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from fedbench.config import TRAINED
from fedbench.profiles import Cell, searched

if TYPE_CHECKING:
    from fedbench.store import Run

_Edge = tuple[str, str, float, float]  #: cell, setting, learning rate, passes


def at_an_edge(runs: Iterable[Run]) -> str:
    """Which of ``runs`` have a learning rate that won at the edge of its search, in a few words.

    A better one may lie beyond. Empty if there is none. A run is known by its cell, setting, rate
    and passes, since it does not say which profile it is of.

    Raises:
        FedbenchError: the record of the searches was changed by hand.
    """
    edges = _edges()
    settings: dict[tuple[str, str], set[str]] = {}
    for run in (run for run in runs if _place(run) in edges):
        tuned = _cell(run).key.removeprefix(f"{run.config.task} ")
        about = (tuned, str(run.metrics["task_title"]))
        settings.setdefault(about, set()).add(run.config.setting)
    titles: dict[tuple[str, str], list[str]] = {}
    for (tuned, title), ended in sorted(settings.items()):
        titles.setdefault((tuned, _listed(ended)), []).append(title)
    said = [f"{tuned} on {', '.join(on)} ({where})" for (tuned, where), on in titles.items()]
    return f"learning rate at the edge of its search: {'; '.join(said)}" if said else ""


def _listed(settings: Collection[str]) -> str:
    some = [name for name in TRAINED if name in settings]
    return "all settings" if len(some) == len(TRAINED) else ", ".join(some)


def _edges() -> set[_Edge]:
    return {
        (key, setting, cell["learning_rate"][setting], cell["passes"])
        for search in searched().values()
        for key, cell in search["cells"].items()
        for setting in cell["at_an_edge"]
    }


def _place(run: Run) -> _Edge:
    config = run.config
    return _cell(run).key, config.setting, config.learning_rate, config.passes


def _cell(run: Run) -> Cell:
    config = run.config
    return Cell(config.task, config.backbone, config.method, config.rule, config.optimizer)
