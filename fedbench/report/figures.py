"""Figures as pure functions from a frame of numbers to a Matplotlib figure.

The main figure is in :mod:`fedbench.report.score_figure`. Nothing here knows runs, apart from
:func:`save_figure`, which writes the picture with its numbers and the runs behind them.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedbench.config import TRAINED
from fedbench.files import write_bytes
from fedbench.report import style
from fedbench.report.cells import POOLED, beside
from fedbench.report.inventory import partitions
from fedbench.report.origin import behind, face, remarks, titled
from fedbench.report.tables import NOT_RUN
from fedbench.report.writing import numbers, provenance, write_origin
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FACE_WIDTH = 54  #: characters in a column
_FACE_LINE = 0.135  #: inches
_ABOVE = 16  #: points from a panel to what stands above its own title
_TITLE_WIDTH = 46  #: characters above a row of panels
_LABEL_WIDTH = 24  #: characters along the height of one panel
_READABLE_TOPICS = 8
_COUNTED_TOPICS = 4
OWN_DATA = "local"  #: the setting whose validation data are each site's own
#: no dates and no versions: the same numbers give the same bytes
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def save_figure(
    figure: Figure,
    frame: pd.DataFrame,
    name: str,
    folder: Path,
    runs: Sequence[Run],
    caption: str,
) -> Path:
    """Write ``name``.png, .pdf, .csv (the numbers) and .json (caption, runs); return the PNG.

    What must be said of the runs (synthetic, subset, recorded by older code) goes on the face, and
    after the caption.

    Raises:
        FedbenchError: the folder cannot be written.
    """
    used = behind(frame, runs)
    write_picture(figure, name, folder, face(used))
    write_bytes(folder / f"{name}.csv", numbers(frame))
    write_origin(folder, name, provenance(used, " ".join([caption, *remarks(used)])))
    return folder / f"{name}.png"


def write_picture(figure: Figure, name: str, folder: Path, said: str) -> None:
    """Write ``name``.png and .pdf with ``said`` on the face; the same figure gives the same bytes.

    Raises:
        FedbenchError: the folder cannot be written.
    """
    with style.look():
        if said:
            _write_face(figure, textwrap.wrap(said, _FACE_WIDTH))
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, for both files
        for kind, metadata in _METADATA.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=style.DPI, metadata=metadata)
            write_bytes(folder / f"{name}.{kind}", buffer.getvalue())


def _write_face(figure: Figure, lines: Sequence[str]) -> None:
    """Words under the panels, which keep their height unless the page ends."""
    grown = figure.get_figheight() + len(lines) * _FACE_LINE
    figure.set_figheight(min(grown, style.TALLEST))
    figure.supxlabel("\n".join(lines), color="0.35", style="italic")


def title_of(part: pd.DataFrame) -> str:
    """The task's title, as known from a row that was run."""
    known = part[part["synthetic"].notna()]
    if known.empty:
        return str(part["task_title"].iloc[0])
    return titled(str(known["task_title"].iloc[0]), bool(known["synthetic"].iloc[0]))


def backbone_name(backbone: str) -> str:
    """A backbone's name without owner, revision and the project's own prefix."""
    name = backbone.partition("@")[0].rstrip("/").rsplit("/", 1)[-1]
    return name.removeprefix("fedbench-")


def composition_figure(frame: pd.DataFrame) -> Figure:
    """Who holds what: the share of each topic among a site's training examples, as a heat map.

    The scale ends at the greatest share that there is.
    """
    if frame.empty:
        return nothing()
    tasks = list(frame["task"].unique())
    columns = partitions(frame)
    sites = [frame[frame["task"] == task]["site"].nunique() for task in tasks]
    held = frame.groupby(["task", "partition", "site"])["examples"].transform("sum").clip(lower=1)
    top = max(1.0, float(100 * (frame["examples"] / held).max()))
    with style.look():
        figure = style.blank(0.7 + sum(0.75 + 0.22 * n for n in sites))
        axes = figure.subplots(len(tasks), len(columns), squeeze=False, height_ratios=sites)
        image = None
        for row, task in enumerate(tasks):
            for column, partition in enumerate(columns):
                same = (frame["task"] == task) & (frame["partition"] == partition)
                image = _draw_sites(axes[row, column], frame[same], partition, top) or image
            _name_row(axes[row], frame[frame["task"] == task])
        if image is not None:
            bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.7, aspect=34)
            bar.set_label("share of the site's training examples (%)")
        words = "site, and n = its training examples"
        figure.supylabel(textwrap.fill(words, _LABEL_WIDTH * len(tasks)))
    return figure


def _name_row(axes: Sequence[Axes], part: pd.DataFrame) -> None:
    """The task's title above a row of panels, over their whole width.

    Panels leave lines for it above their own titles; it takes no part in the layout itself, which
    would widen the first panel's column to the title's width.
    """
    lines = textwrap.wrap(title_of(part), _TITLE_WIDTH)
    for ax in axes:
        ax.set_title("\n" * len(lines) + ax.get_title(loc="left").strip(), loc="left")
    place: dict[str, Any] = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, _ABOVE)}
    text = axes[0].annotate("\n".join(lines), **place, textcoords="offset points", va="bottom")
    text.set_fontsize(axes[0].title.get_fontsize())
    text.set_in_layout(False)


def _draw_sites(ax: Axes, part: pd.DataFrame, partition: str, top: float) -> Any:
    if part.empty:
        _say_why_empty(ax, partition)
        return None
    table = part.pivot_table(index="site", columns="topic", values="examples", aggfunc="sum")
    totals = table.sum(axis=1)
    shares = 100 * table.div(totals.clip(lower=1), axis=0)
    image = ax.imshow(shares.to_numpy(), cmap="Blues", vmin=0, vmax=top, aspect="auto")
    trained = part.groupby("site")["trained"].all()
    names = [f"{site.removeprefix('site-')}{'' if trained[site] else '*'}" for site in table.index]
    labels = [f"{name}  n={total:.0f}" for name, total in zip(names, totals, strict=True)]
    ax.set_yticks(range(len(labels)), labels)
    _name_topics(ax, [str(topic) for topic in table.columns])
    if len(table.columns) <= _COUNTED_TOPICS:
        _write_counts(ax, table.to_numpy(), shares.to_numpy() / top)
    ax.set_title(partition, loc="left")
    ax.tick_params(length=0)
    return image


def nothing(title: str = "", why: str = NOT_RUN) -> Figure:
    """The figure of no run at all."""
    with style.look():
        figure = style.blank(0.75)
        _say_why_empty(figure.subplots(), title, why)
    return figure


def _say_why_empty(ax: Axes, title: str, why: str = NOT_RUN) -> None:
    """An empty panel that says why it is empty."""
    ax.set_axis_off()
    ax.set_title(title, loc="left")
    text = ax.text(0.5, 0.5, why, transform=ax.transAxes, color="0.35", style="italic")
    text.set(ha="center", va="center")


def _write_counts(ax: Axes, counts: Any, shades: Any) -> None:
    for row, column in np.ndindex(counts.shape):
        color = "white" if shades[row, column] > 0.55 else "black"
        text = ax.text(column, row, f"{counts[row, column]:.0f}", color=color)
        text.set(ha="center", va="center_baseline")


def _name_topics(ax: Axes, topics: Sequence[str]) -> None:
    """Topics by name while there is room for them, else by their number."""
    if len(topics) > _READABLE_TOPICS:
        ax.set_xticks([])
        ax.set_xlabel(f"{len(topics)} topics")
        return
    long = max(map(len, topics)) > 20 / len(topics)
    names = [textwrap.shorten(topic, 16, placeholder="…") for topic in topics]
    ax.set_xticks(range(len(topics)), names)
    if len(topics) > _COUNTED_TOPICS:
        ax.tick_params(axis="x", labelrotation=90)
    elif long:
        ax.tick_params(axis="x", labelrotation=35)
        for label in ax.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")


def convergence_figure(frame: pd.DataFrame) -> Figure:
    """Validation accuracy after each round: mean over seeds, band from least to greatest.

    ``frame`` is that of :func:`~fedbench.report.inventory.convergence`, of one backbone and method;
    panels are tasks by partitions, and what knows no sites is drawn in each. A local model is
    scored on its own site's data, so its curve has hollow markers: heights do not compare.
    """
    if frame.empty:
        return nothing()
    tasks, columns = list(frame["task"].unique()), partitions(frame) or [POOLED]
    with style.look():
        figure = style.blank(0.9 + 1.45 * len(tasks))
        axes = figure.subplots(len(tasks), len(columns), squeeze=False, sharex=True, sharey="row")
        for row, task in enumerate(tasks):
            for column, partition in enumerate(columns):
                same = (frame["task"] == task) & beside(frame, partition)
                _draw_rounds(axes[row, column], frame[same])
                axes[row, column].set_title(partition, loc="left")
            _name_row(axes[row], frame[frame["task"] == task])
        for ax in axes[-1]:
            ax.set_xlabel("passes over the data")
        _name_settings(figure)
        words = "validation accuracy, each on its own data (%); band: least to greatest seed"
        figure.supylabel(textwrap.fill(words, _LABEL_WIDTH * len(tasks)))
    return figure


def _draw_rounds(ax: Axes, part: pd.DataFrame) -> None:
    for setting in TRAINED:
        looks = style.LOOKS[setting]
        line = part[part["setting"] == setting]
        x, mean = line["passes"], 100 * line["mean"]
        ax.fill_between(
            x, 100 * line["least"], 100 * line["greatest"], color=looks.color, alpha=0.15, lw=0
        )
        ax.plot(x, mean, looks.dash, marker=looks.marker, color=looks.color, mfc=_fill(setting))
        for passes, values in zip(x, line["per_seed"], strict=True):
            seeds = [100 * float(value) for value in values.split()]
            ax.plot([passes] * len(seeds), seeds, ".", color=looks.color, markersize=1.5, alpha=0.6)
    _name_curves_missing(ax, [s for s in TRAINED if s not in set(part["setting"])])
    ax.grid()
    ax.set_axisbelow(True)


def _fill(setting: str) -> str:
    """Inside of a marker: hollow where a setting is scored on data of its own."""
    return "white" if setting == OWN_DATA else style.LOOKS[setting].color


def _name_curves_missing(ax: Axes, settings: Sequence[str]) -> None:
    """Say in the lower right corner of a panel which settings were not run."""
    if settings:
        words = textwrap.fill(f"{NOT_RUN}: {', '.join(settings)}", 24)
        text = ax.text(0.98, 0.03, words, transform=ax.transAxes, color="0.35", style="italic")
        text.set(ha="right", va="bottom")


def _name_settings(figure: Figure) -> None:
    """The trained settings above all panels, each once, whether a panel has it or not."""
    from matplotlib.lines import Line2D

    handles = []
    for setting in TRAINED:
        look, words = style.LOOKS[setting], " (own site's data)" if setting == OWN_DATA else ""
        line = Line2D([], [], linestyle=look.dash, marker=look.marker, color=look.color)
        line.set(markerfacecolor=_fill(setting), label=f"{setting}{words}")
        handles.append(line)
    figure.legend(handles=handles, loc="outside upper center", ncols=3)


def resources_figure(frame: pd.DataFrame) -> Figure:
    """Trainable parameters, and bytes that one site sends in one round, per backbone and method."""
    if frame.empty:
        return nothing()
    names = [
        f"{row['method']}, {backbone_name(row['backbone'])}" for row in frame.to_dict("records")
    ]
    panels = (
        ("trainable_parameters", "trainable parameters"),
        ("bytes_up", "upload per site and round (kB)"),
    )
    with style.look():
        figure = style.blank(0.75 + 2 * (0.3 + 0.2 * len(frame)))
        axes = figure.subplots(2, 1)
        for ax, (column, title) in zip(axes, panels, strict=True):
            scale = 1000 if column == "bytes_up" else 1
            _draw_bars(ax, names, frame[column] / scale, list(frame["method"]))
            ax.set_xlabel(title)
    return figure


def _draw_bars(ax: Axes, names: Sequence[str], values: pd.Series, methods: Sequence[str]) -> None:
    kinds = list(dict.fromkeys(methods))
    colors = [style.TONES[kinds.index(method) % len(style.TONES)] for method in methods]
    ax.barh(range(len(names)), values, color=colors, height=0.7)
    for place, value in enumerate(values):
        text = f" {value:,.0f}" if value else f" {NOT_RUN}"
        ax.text(value, place, text, va="center")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlim(0, 1.25 * max(values.max(), 1))
    ax.set_xticks([])  # each bar carries its number
    ax.spines["bottom"].set_visible(False)
    ax.tick_params(axis="y", length=0)
