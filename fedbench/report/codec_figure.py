"""What bytes buy as a picture: accuracy over bytes sent, and the front that nothing beats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedbench.report import style
from fedbench.report.codec_table import codecs_of
from fedbench.report.figures import nothing, title_of
from fedbench.report.rule_figures import span
from fedbench.report.tables import NOT_RUN

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL, _KEY = 2.6, 0.135  #: inches: the panel with its axes; a line of the key
_LOOKS = dict(zip(("lora", "ia3", "full", "qlora"), style.apart(4), strict=True))
_KEY_SIZE = 6.5  #: points, of the key and of numbers beside points


def codec_figure(frame: pd.DataFrame) -> Figure:
    """Test accuracy with its interval over megabytes of updates of a whole run.

    ``frame`` is that of :func:`~fedbench.report.codec_table.codec_table`, of whichever task it has
    first. Points are numbered from the fewest bytes to the most, and named below; a line joins
    those that no other beats in both.
    """
    if frame.empty:
        return nothing()
    part = frame[frame["task"] == frame["task"].iloc[0]].sort_values(["bytes_up_all", "mean"])
    rows = part.to_dict("records")
    lines = -(-len(rows) // 2)
    with style.look():
        figure = style.blank(_PANEL + _KEY * lines)
        top, below = figure.subplots(2, 1, height_ratios=(_PANEL, _KEY * lines))
        _draw_front(top, [row for row in rows if row["on_front"]])
        for place, row in enumerate(rows):
            _draw_point(top, row, place)
        top.set_xscale("log")
        top.set_xlabel("megabytes uploaded, all sites and rounds")
        top.set_ylabel("test accuracy (%)")
        top.grid()
        top.set_axisbelow(True)
        _name_methods(top, list(dict.fromkeys(row["method"] for row in rows)))
        _write_key(below, rows, lines)
        figure.suptitle(title_of(part), x=0.02, ha="left", fontsize=8)
    return figure


def _draw_front(ax: Axes, rows: list[dict[Any, Any]]) -> None:
    x = [row["bytes_up_all"] / 1e6 for row in rows]
    y = [100 * row["mean"] for row in rows]
    ax.step(x, y, where="post", color="0.25", linewidth=0.9, zorder=1, label="front")


def _draw_point(ax: Axes, row: dict[Any, Any], place: int) -> None:
    x, y = row["bytes_up_all"] / 1e6, 100 * row["mean"]
    low, high = y - 100 * row["ci_low"], 100 * row["ci_high"] - y
    look = _LOOKS[row["method"]]
    fill = look.color if row["on_front"] else "white"
    ax.errorbar(
        x,
        y,
        yerr=[[low], [high]],
        fmt=look.marker,
        color=look.color,
        markerfacecolor=fill,
        elinewidth=0.6,
        zorder=4 if row["on_front"] else 3,
    )
    away = 1 if place % 2 else -1  # neighbours have their numbers on either side
    ax.annotate(
        str(place + 1),
        (x, y),
        (3 * away, 3 * away),
        textcoords="offset points",
        fontsize=_KEY_SIZE,
        ha="left" if away > 0 else "right",
        va="bottom" if away > 0 else "top",
    )


def _name_methods(ax: Axes, methods: list[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker=_LOOKS[m].marker, color=_LOOKS[m].color, label=m)
        for m in methods
    ]
    handles.append(Line2D([], [], color="0.25", linewidth=0.9, label="front"))
    ax.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(handles))


def _write_key(ax: Axes, rows: list[dict[Any, Any]], lines: int) -> None:
    ax.set_axis_off()
    for place, row in enumerate(rows):
        column, line = divmod(place, lines)
        text = f"{place + 1}  {row['method']} {codecs_of(row)}"
        where = (-0.12 + 0.58 * column, 1 - (line + 0.5) / lines)
        ax.text(*where, text, transform=ax.transAxes, fontsize=_KEY_SIZE, va="center")


def codec_caption(frame: pd.DataFrame) -> str:
    """Of the table of codecs."""
    if frame.empty:
        return f"What bytes buy: {NOT_RUN}."
    return (
        "Codecs beside fp32, by method: bytes of one site and round (on buffers, headers included: "
        "an update; the message that it answers; both ways of scoring the new adapter), how many "
        "times fewer than with fp32 (updates alone; everything), and test accuracy with 95 % "
        f"interval over {span(frame['n_seeds'])} seeds and {span(frame['n_test'])} items. The "
        "difference to fp32 is paired over seeds and items; its interval stands for itself, p is "
        "adjusted by Holm's method over the codecs of a method. A loss that is not shown may be "
        "there: smallest difference is what would have been seen with a power of 80 %. All codecs "
        "of a method have the learning rate that was found for fp32. top-k keeps 1 % of all "
        "numbers unless it says otherwise, low-rank four ranks."
    )


def codec_figure_caption(frame: pd.DataFrame) -> str:
    """Of :func:`codec_figure`."""
    if frame.empty:
        return f"What bytes buy: {NOT_RUN}."
    return (
        "Test accuracy over bytes of all updates of a run, all sites and rounds (logarithmic): "
        f"mean over {span(frame['n_seeds'])} seeds with 95 % interval. Points are numbered from "
        "the fewest bytes to the most. Filled, and joined by a line: no other has fewer bytes and "
        "at least its accuracy (the Pareto front of the estimates; differences along it are not "
        "tested). Broadcasts are not in it."
    )


def full_caption(frame: pd.DataFrame) -> str:
    """Of adapters beside full fine-tuning."""
    if frame.empty:
        return f"Adapters beside full fine-tuning: {NOT_RUN}."
    return (
        "Adapters beside full fine-tuning of the same backbone in fp32 (the first row): paired "
        f"over {span(frame['n_seeds'])} seeds and {span(frame['n_test'])} items, p adjusted by "
        "Holm's method over all rows. Each method has a learning rate of its own, that of its "
        "fp32 under every codec."
    )
