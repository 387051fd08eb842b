"""The figure of the energy suite: bars whose estimates are hatched, and called estimates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedbench.files import write_bytes
from fedbench.report import style
from fedbench.report.energy import ESTIMATED, NOTHING, face, is_estimated, origin_of
from fedbench.report.figures import nothing, write_picture
from fedbench.report.writing import numbers, write_origin

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = (
    ("training", "mJ per token"),
    ("inference", "J per 1,000 items"),
    ("peak memory in training", "MB"),
    ("adapter", "kB"),
)


def save_energy_figure(
    figure: Figure, frame: pd.DataFrame, name: str, folder: Path, record: Mapping[str, Any] | None
) -> Path:
    """Write the figure with its numbers and its origin; return the PNG's path."""
    said = face(record) if record else ""
    write_picture(figure, name, folder, said)
    write_bytes(folder / f"{name}.csv", numbers(frame))
    write_origin(folder, name, origin_of(record, said) if record else {"caption": NOTHING})
    return folder / f"{name}.png"


def energy_figure(frame: pd.DataFrame) -> Figure:
    """Bars per method and setting; what is estimated is hatched and called so."""
    if frame.empty:
        return nothing("energy")
    lines = list(dict.fromkeys(zip(frame["method"], frame["setting"], strict=True)))
    with style.look():
        figure = style.blank(0.5 + len(_PANELS) * (0.45 + 0.16 * len(lines)))
        axes = figure.subplots(len(_PANELS), 1)
        for ax, (quantity, unit) in zip(axes, _PANELS, strict=True):
            same = (frame["quantity"] == quantity) & (frame["unit"] == unit)
            _draw_bars(ax, frame[same], f"{quantity} ({unit})")
    return figure


def _draw_bars(ax: Axes, part: pd.DataFrame, title: str) -> None:
    rows = part.to_dict("records")
    estimated = any(is_estimated(row["obtained"]) for row in rows)
    for place, row in enumerate(rows):
        looks = style.LOOKS[row["setting"]]
        hatch = "////" if is_estimated(row["obtained"]) else None
        color = "white" if hatch else looks.color
        ax.barh(place, row["mean"], color=color, edgecolor=looks.color, hatch=hatch, height=0.7)
        if row["ci_low"] == row["ci_low"]:
            ax.plot([row["ci_low"], row["ci_high"]], [place, place], color="black", linewidth=1)
        repeats = [float(value) for value in row["per_repeat"].split()]
        (points,) = ax.plot(repeats, [place] * len(repeats), "o", color="black", markersize=2)
        points.set(markerfacecolor="white", markeredgewidth=0.5)
    ax.set_yticks(range(len(rows)), [f"{row['method']}, {row['setting']}" for row in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_title(f"{title}{', ' + ESTIMATED if estimated else ''}", loc="left")
    ax.set_xlim(left=0)
    ax.locator_params(axis="x", nbins=5)  # more labels would touch
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.set_axisbelow(True)
