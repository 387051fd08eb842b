"""The main figure: every score with its interval, on as many pages as it takes.

Base and centralized training know no sites: they are drawn once per backbone and method, never
again beside each partition, where they would look like more evidence.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from fedbench.config import SETTINGS
from fedbench.report import style
from fedbench.report.cells import POOLED
from fedbench.report.figures import backbone_name, nothing, title_of
from fedbench.report.scores import ACCURACY
from fedbench.report.tables import NOT_RUN

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "main_results_figure"
Group = tuple[str, str, str]  #: task, backbone, method

#: inches: a line, the space above a group of lines, a panel's title, and legend, axis and remarks
_LINE, _SPACE, _TITLE, _FRAME = 0.18, 0.06, 0.36, 1.05
_KEYS = ["task", "backbone", "method"]
#: predictors without skill: dash and colour of their lines
_LINES: dict[str, tuple[Literal["--", ":"], str]] = {
    "chance": ("--", "0.25"),
    "majority": (":", "#D55E00"),
}
#: how a single seed is drawn
_SEED: Any = {"markersize": 2.2, "markerfacecolor": "white", "markeredgewidth": 0.5}


def main_parts(frame: pd.DataFrame, metric: str = ACCURACY) -> dict[str, pd.DataFrame]:
    """The rows of ``frame`` by the name of the figure that shows them.

    There is one, called :data:`NAME`, or more where one would not fit a page. The panel of a task
    is divided only where it needs more than a page for itself.
    """
    groups = _groups(_shown(frame, metric))
    pages = _pages(groups) if groups else []
    if len(pages) < 2:
        return {NAME: frame}
    keys = [tuple(row) for row in frame[_KEYS].itertuples(index=False)]
    return {
        NAME if number == 1 else f"{NAME}_{number}": frame[[key in page for key in keys]]
        for number, page in enumerate(pages, start=1)
    }


def main_figure(frame: pd.DataFrame, metric: str = ACCURACY) -> Figure:
    """Scores with 95 % intervals: a panel per task, and in it a group per backbone and method.

    The first line of a group has what knows no sites, each further one a partition. Every seed is a
    small hollow point beside its mean.

    ``frame`` is that of :func:`~fedbench.report.tables.main_results`, or a part of it; dashed:
    guessing, dotted: always the majority answer of training. A setting without runs is named as
    not run.
    """
    chosen = _shown(frame, metric)
    groups = _groups(chosen)
    if not groups:
        return nothing()
    tasks = list(dict.fromkeys(task for task, _, _ in groups))
    heights = [_height({key: groups[key] for key in groups if key[0] == task}) for task in tasks]
    with style.look():
        figure = style.blank(_FRAME + sum(heights))
        inner = [height - _TITLE for height in heights]
        axes = figure.subplots(len(tasks), 1, sharex=True, squeeze=False, height_ratios=inner)
        for ax, task in zip(axes[:, 0], tasks, strict=True):
            mine = {key: lines for key, lines in groups.items() if key[0] == task}
            _draw_task(ax, chosen[chosen["task"] == task], mine)
        axes[-1, 0].set_xlabel(f"{metric.replace('_', ' ')} (%), 95 % interval")
        axes[0, 0].margins(x=0.04)
        _legend(figure)
    return figure


def _shown(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    return frame[(frame["metric"] == metric) & (frame["labels"] == "true")]


def _groups(chosen: pd.DataFrame) -> dict[Group, list[str]]:
    """The lines of each group: first what knows no sites, then the partitions."""
    found: dict[Group, list[str]] = {}
    for *key, partition in chosen[[*_KEYS, "partition"]].itertuples(index=False, name=None):
        lines = found.setdefault((str(key[0]), str(key[1]), str(key[2])), [POOLED])
        if partition not in lines:
            lines.append(str(partition))
    return found


def _height(groups: Mapping[Group, Sequence[str]]) -> float:
    """Inches that the panels of these groups need."""
    lines = sum(_SPACE + _LINE * len(lines) for lines in groups.values())
    return lines + _TITLE * len({task for task, _, _ in groups})


def _pages(groups: Mapping[Group, Sequence[str]]) -> list[set[Group]]:
    """Which groups stand on which page, in their order."""
    pages: list[set[Group]] = [set()]
    for block in _blocks(groups):
        if pages[-1] and not _fits({key: groups[key] for key in (*pages[-1], *block)}):
            pages.append(set())
        pages[-1] |= set(block)
    return pages


def _blocks(groups: Mapping[Group, Sequence[str]]) -> Iterable[list[Group]]:
    """What stays on one page: a task, or a group of one that is too large for a page."""
    for task in dict.fromkeys(task for task, _, _ in groups):
        mine = [key for key in groups if key[0] == task]
        whole = _fits({key: groups[key] for key in mine})
        yield from [mine] if whole else [[key] for key in mine]


def _fits(groups: Mapping[Group, Sequence[str]]) -> bool:
    return _FRAME + _height(groups) <= style.TALLEST


def _draw_task(ax: Axes, part: pd.DataFrame, groups: Mapping[Group, Sequence[str]]) -> None:
    rows = part.to_dict("records")
    places: list[float] = []
    labels: list[str] = []
    for (_, backbone, method), lines in groups.items():
        start = places[-1] + 1 + _SPACE / _LINE if places else 0.0
        mine = [row for row in rows if (row["backbone"], row["method"]) == (backbone, method)]
        for number, partition in enumerate(lines):
            same = [row for row in mine if row["partition"] == partition]
            _draw_line(ax, same, start + number)
            places.append(start + number)
            head = f"{method}, {backbone_name(backbone)}"
            labels.append(head if partition == POOLED else partition)
    for column, (dash, color) in _LINES.items():
        ax.axvline(100 * part[column].mean(), color=color, linestyle=dash, linewidth=1, zorder=1)
    ax.set_yticks(places, labels)
    for label, partition in zip(ax.get_yticklabels(), _flat(groups.values()), strict=True):
        label.set_fontweight("bold" if partition == POOLED else "normal")
    ax.set_ylim(places[-1] + 0.6, -0.6)
    ax.set_title(textwrap.fill(title_of(part), 40), loc="left")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.set_axisbelow(True)


def _flat(lists: Iterable[Sequence[str]]) -> list[str]:
    return [one for some in lists for one in some]


def _draw_line(ax: Axes, rows: Sequence[dict[Any, Any]], height: float) -> None:
    """The scores of one line below one another, in the order of settings."""
    ordered = sorted(rows, key=lambda row: SETTINGS.index(row["setting"]))
    places = [height + 0.72 * ((i + 0.5) / len(rows) - 0.5) for i in range(len(rows))]
    for row, place in zip(ordered, places, strict=True):
        if row["n_seeds"]:
            _draw_score(ax, row, place)
    missing = {p: r["setting"] for r, p in zip(ordered, places, strict=True) if not r["n_seeds"]}
    if missing:
        _name_missing(ax, list(missing.values()), sum(missing) / len(missing))


def _draw_score(ax: Axes, row: dict[Any, Any], place: float) -> None:
    looks = style.LOOKS[row["setting"]]
    middle, low, high = (100 * row[name] for name in ("mean", "ci_low", "ci_high"))
    ax.plot([low, high], [place, place], color=looks.color, linewidth=1.1, zorder=2)
    seeds = [100 * float(value) for value in row["per_seed"].split()]
    if len(seeds) > 1:
        (points,) = ax.plot(seeds, [place] * len(seeds), "o", color=looks.color, zorder=4)
        points.set(**_SEED)
    ax.plot(middle, place, looks.marker, color=looks.color, zorder=3)


def _name_missing(ax: Axes, settings: Sequence[str], place: float) -> None:
    """Say at the right end, where their scores would be, which settings were not run."""
    words = f"{NOT_RUN}: {', '.join(settings)}"
    text = ax.text(0.99, place, words, transform=ax.get_yaxis_transform())
    text.set(ha="right", va="center", color="0.35", style="italic", zorder=1.5)
    text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.2})


def _legend(figure: Figure) -> None:
    """Settings and reference lines above all panels, each once."""
    from matplotlib.lines import Line2D

    handles: list[Any] = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle="", label=setting)
        for setting, look in style.LOOKS.items()
    ]
    handles += [
        Line2D([], [], color=color, linestyle=dash, linewidth=1, label=label)
        for label, (dash, color) in _LINES.items()
    ]
    seed = Line2D([], [], color="0.35", marker="o", linestyle="", label="one seed")
    seed.set(**_SEED)
    figure.legend(handles=[*handles, seed], loc="outside upper center", ncols=4)
