"""Published values as a picture, ours beside one only where the work is the same."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from fedbench.report import style
from fedbench.report.figures import backbone_name, nothing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE, _FRAME = 0.52, 0.75  #: inches: a published value, and axis and remarks
_NAME, _WORDS = 22, 34  #: characters: of a system's name, and of why ours is not there


def peers_caption(frame: pd.DataFrame) -> str:
    """Of the table and of the figure, from :func:`~fedbench.report.peers.beside_others`."""
    if frame.empty:
        return "Published values: none on the tasks that were run here."
    beside = sum(map(_is_value, frame["ours"]))
    return (
        "Published values in % as their sources give them, without uncertainty. Ours stands beside "
        f"{beside or 'none'} of {len(frame)}: beside the others the work is not the same."
    )


def peers_figure(frame: pd.DataFrame) -> Figure:
    """A line per published value, hollow; ours filled, or in words why it is not there."""
    if frame.empty:
        return nothing("published values", "none on the tasks that were run here")
    tasks = list(frame["task"].unique())
    sizes = [int((frame["task"] == task).sum()) for task in tasks]
    with style.look():
        figure = style.blank(_FRAME + sum(0.3 + _LINE * size for size in sizes))
        axes = figure.subplots(len(tasks), 1, sharex=True, squeeze=False, height_ratios=sizes)
        for ax, task in zip(axes[:, 0], tasks, strict=True):
            _draw_task(ax, frame[frame["task"] == task].to_dict("records"))
            ax.set_title(task, loc="left")
        axes[-1, 0].set(xlim=(0, 100), xlabel="published (hollow) and ours (filled), %")
    return figure


def _draw_task(ax: Axes, rows: list[dict[Any, Any]]) -> None:
    for place, row in enumerate(rows):
        ax.plot(float(row["published"]), place, "D", color="0.35", markerfacecolor="white")
        if _is_value(row["ours"]):
            ax.plot(float(row["ours"]), place, "o", color=style.LOOKS["federated"].color)
        else:
            words = textwrap.fill(f"ours: {row['ours'].rpartition(': ')[2]}", _WORDS)
            text = ax.text(1, place + 0.36, words, color="0.35", style="italic", va="center")
            text.set_in_layout(False)
    names = [
        textwrap.fill(f"{r['system']}, {r['setting']}, {backbone_name(r['backbone'])}", _NAME)
        for r in rows
    ]
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(len(rows) - 0.4, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.set_axisbelow(True)


def _is_value(ours: str) -> bool:
    return ours.replace(".", "", 1).isdigit()
