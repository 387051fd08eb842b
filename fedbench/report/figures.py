"""Every figure as a pure function from a frame of numbers to a Matplotlib figure.

Nothing here knows runs, apart from :func:`save_figure`, which writes the picture with its numbers
and the runs behind them.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fedbench.config import SETTINGS, TRAINED
from fedbench.files import write_bytes, write_json
from fedbench.report import style
from fedbench.report.cells import POOLED
from fedbench.report.inventory import partitions
from fedbench.report.origin import behind, face, remarks, titled
from fedbench.report.scores import ACCURACY
from fedbench.report.tables import NOT_RUN
from fedbench.report.writing import numbers, provenance
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_READABLE_TOPICS = 8
_COUNTED_TOPICS = 4
#: predictors without skill: dash and colour of their lines
_LINES: dict[str, tuple[Literal["--", ":"], str]] = {
    "chance": ("--", "0.25"),
    "majority": (":", "#D55E00"),
}
#: no dates and no versions: the same numbers give the same bytes
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def save_figure(
    figure: Figure, frame: pd.DataFrame, name: str, folder: Path, runs: Sequence[Run]
) -> Path:
    """Write ``name``.png, .pdf, .csv (the numbers) and .json (the runs); return the PNG.

    What must be said of the runs (synthetic, subset, recorded by older code) goes on the face.

    Raises:
        FedbenchError: the folder cannot be written.
    """
    used = behind(frame, runs)
    write_picture(figure, name, folder, face(used))
    write_bytes(folder / f"{name}.csv", numbers(frame))
    write_json(folder / f"{name}.json", provenance(used, " ".join(remarks(used))))
    return folder / f"{name}.png"


def write_picture(figure: Figure, name: str, folder: Path, said: str) -> None:
    """Write ``name``.png and .pdf with ``said`` on the face; the same figure gives the same bytes.

    Raises:
        FedbenchError: the folder cannot be written.
    """
    with style.look():
        if said:
            words = textwrap.fill(said, 68)
            figure.supxlabel(words, fontsize=7, color="0.35", style="italic")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, for both files
        for kind, metadata in _METADATA.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=style.DPI, metadata=metadata)
            write_bytes(folder / f"{name}.{kind}", buffer.getvalue())


def main_figure(frame: pd.DataFrame, metric: str = ACCURACY) -> Figure:
    """Scores with 95 % intervals: a panel per task, a line per backbone, method and partition.

    Every seed is a small hollow point beside its mean.

    ``frame`` is that of :func:`~fedbench.report.tables.main_results`; dashed: guessing, dotted:
    always the majority answer of training. A setting without runs is named as not run.
    """
    chosen = frame[(frame["metric"] == metric) & (frame["labels"] == "true")]
    groups = {task: _lines(part) for task, part in chosen.groupby("task", sort=False)}
    sizes = [len(lines) for lines in groups.values()]
    with style.look():
        figure = style.blank(0.75 + 0.36 * sum(sizes) + 0.4 * len(sizes))
        axes = figure.subplots(
            len(sizes), 1, sharex=True, squeeze=False, height_ratios=[n + 0.4 for n in sizes]
        )
        for ax, (task, lines) in zip(axes[:, 0], groups.items(), strict=True):
            _draw_scores(ax, chosen[chosen["task"] == task], lines)
        axes[-1, 0].set_xlabel(f"{metric.replace('_', ' ')} (%), 95 % interval")
        _legend(figure, axes[0, 0])
    return figure


def _lines(part: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Backbone, method and partition of each line; what knows no sites is on every line."""
    keys = part[["backbone", "method", "partition"]].drop_duplicates()
    lines = [(str(b), str(m), str(p)) for b, m, p in keys.itertuples(index=False)]
    sited = {line[:2] for line in lines if line[2] != POOLED}
    return [line for line in lines if line[2] != POOLED or line[:2] not in sited]


def _draw_scores(ax: Axes, part: pd.DataFrame, lines: Sequence[tuple[str, str, str]]) -> None:
    rows = part.to_dict("records")
    for height, (backbone, method, partition) in enumerate(lines):
        same = [row for row in rows if (row["backbone"], row["method"]) == (backbone, method)]
        mine = [row for row in same if row["partition"] in (partition, POOLED)]
        for row in mine:
            if row["n_seeds"]:
                _draw_score(ax, row, height)
        _name_scores_missing(ax, [row["setting"] for row in mine if not row["n_seeds"]], height)
    for column, (dash, color) in _LINES.items():
        ax.axvline(100 * part[column].mean(), color=color, linestyle=dash, linewidth=1, zorder=1)
    ax.set_yticks(range(len(lines)), [f"{m}, {p}\n{_short(b)}" for b, m, p in lines])
    ax.set_ylim(len(lines) - 0.3, -0.55)
    ax.set_title(textwrap.fill(_titled(part), 40), loc="left")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.set_axisbelow(True)


def _titled(part: pd.DataFrame) -> str:
    """The task's title, as known from a row that was run."""
    known = part[part["synthetic"].notna()]
    if known.empty:
        return str(part["task_title"].iloc[0])
    return titled(str(known["task_title"].iloc[0]), bool(known["synthetic"].iloc[0]))


def _short(backbone: str) -> str:
    name = backbone.partition("@")[0].rstrip("/").rsplit("/", 1)[-1]
    return name.removeprefix("fedbench-")


def _draw_score(ax: Axes, row: dict[Any, Any], height: int) -> None:
    looks = style.LOOKS[row["setting"]]
    middle, low, high = (100 * row[name] for name in ("mean", "ci_low", "ci_high"))
    place = height + 0.21 * (SETTINGS.index(row["setting"]) - 1.5)
    ax.plot([low, high], [place, place], color=looks.color, linewidth=1.1, zorder=2)
    seeds = [100 * float(value) for value in row["per_seed"].split()]
    if len(seeds) > 1:
        (points,) = ax.plot(seeds, [place] * len(seeds), "o", color=looks.color, zorder=4)
        points.set(markersize=2.2, markerfacecolor="white", markeredgewidth=0.5)
    label = row["setting"] if height == 0 else None
    ax.plot(middle, place, looks.marker, color=looks.color, label=label, zorder=3)


def _name_scores_missing(ax: Axes, settings: Sequence[str], height: int) -> None:
    """Say under the right end of a line which settings were not run."""
    if settings:
        words = f"{NOT_RUN}: {', '.join(sorted(settings, key=SETTINGS.index))}"
        text = ax.text(0.99, height + 0.52, words, transform=ax.get_yaxis_transform(), fontsize=7)
        text.set(ha="right", va="center", color="0.35", style="italic", zorder=1.5)
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.2})


def _legend(figure: Figure, ax: Axes) -> None:
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
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    ax.margins(x=0.04)


def composition_figure(frame: pd.DataFrame) -> Figure:
    """Who holds what: the share of each topic among a site's training examples, as a heat map."""
    if frame.empty:
        return nothing()
    tasks = list(frame["task"].unique())
    columns = partitions(frame)
    sites = [frame[frame["task"] == task]["site"].nunique() for task in tasks]
    with style.look():
        figure = style.blank(0.7 + sum(0.75 + 0.22 * n for n in sites))
        axes = figure.subplots(len(tasks), len(columns), squeeze=False, height_ratios=sites)
        image = None
        for row, task in enumerate(tasks):
            for column, partition in enumerate(columns):
                same = (frame["task"] == task) & (frame["partition"] == partition)
                image = _draw_sites(axes[row, column], frame[same], partition) or image
        if image is not None:
            bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.7, aspect=34)
            bar.set_label("share of the site's training examples (%)")
    return figure


def _draw_sites(ax: Axes, part: pd.DataFrame, partition: str) -> Any:
    if part.empty:
        _say_not_run(ax, partition)
        return None
    table = part.pivot_table(index="site", columns="topic", values="examples", aggfunc="sum")
    totals = table.sum(axis=1)
    shares = 100 * table.div(totals.clip(lower=1), axis=0)
    image = ax.imshow(shares.to_numpy(), cmap="Blues", vmin=0, vmax=100, aspect="auto")
    trained = part.groupby("site")["trained"].all()
    names = [f"{site.removeprefix('site-')}{'' if trained[site] else '*'}" for site in table.index]
    labels = [f"{name}  n={total:.0f}" for name, total in zip(names, totals, strict=True)]
    ax.set_yticks(range(len(labels)), labels)
    _name_topics(ax, [str(topic) for topic in table.columns])
    if len(table.columns) <= _COUNTED_TOPICS:
        _write_counts(ax, table.to_numpy(), shares.to_numpy())
    ax.set_title(f"{textwrap.fill(_titled(part), 22)}\n{partition}", fontsize=7.5)
    ax.tick_params(length=0)
    return image


def nothing() -> Figure:
    """The figure of no run at all."""
    with style.look():
        figure = style.blank(0.75)
        _say_not_run(figure.subplots())
    return figure


def _say_not_run(ax: Axes, title: str = "") -> None:
    """An empty panel that says why it is empty."""
    ax.set_axis_off()
    ax.set_title(title, fontsize=7.5)
    text = ax.text(0.5, 0.5, NOT_RUN, transform=ax.transAxes, color="0.35", style="italic")
    text.set(ha="center", va="center")


def _write_counts(ax: Axes, counts: Any, shares: Any) -> None:
    for row, column in np.ndindex(counts.shape):
        color = "white" if shares[row, column] > 55 else "black"
        text = ax.text(column, row, f"{counts[row, column]:.0f}", color=color, fontsize=7)
        text.set(ha="center", va="center_baseline")


def _name_topics(ax: Axes, topics: Sequence[str]) -> None:
    """Topics by name while there is room for them, else by their number."""
    if len(topics) > _READABLE_TOPICS:
        ax.set_xticks([])
        ax.set_xlabel(f"{len(topics)} topics")
        return
    long = max(map(len, topics)) > 24 / len(topics)
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
    panels are tasks by partitions, and what knows no sites is drawn in each.
    """
    if frame.empty:
        return nothing()
    tasks, columns = list(frame["task"].unique()), partitions(frame) or [POOLED]
    with style.look():
        figure = style.blank(0.9 + 1.45 * len(tasks))
        axes = figure.subplots(len(tasks), len(columns), squeeze=False, sharex=True, sharey="row")
        for row, task in enumerate(tasks):
            for column, partition in enumerate(columns):
                same = (frame["task"] == task) & frame["partition"].isin([partition, POOLED])
                _draw_rounds(axes[row, column], frame[same])
                axes[row, column].set_title(f"\n{partition}", loc="left")
            title = textwrap.fill(_titled(frame[frame["task"] == task]), 50)
            axes[row, 0].set_title(f"{title}\n{columns[0]}", loc="left")
        for ax in axes[-1]:
            ax.set_xlabel("passes over the data")
        _name_settings(figure)
        figure.supylabel("validation accuracy (%)\nband: least to greatest seed")
    return figure


def _draw_rounds(ax: Axes, part: pd.DataFrame) -> None:
    for setting in TRAINED:
        looks = style.LOOKS[setting]
        line = part[part["setting"] == setting]
        x, mean = line["passes"], 100 * line["mean"]
        ax.fill_between(
            x, 100 * line["least"], 100 * line["greatest"], color=looks.color, alpha=0.15, lw=0
        )
        ax.plot(x, mean, looks.dash, marker=looks.marker, color=looks.color)
    _name_curves_missing(ax, [s for s in TRAINED if s not in set(part["setting"])])
    ax.grid()
    ax.set_axisbelow(True)


def _name_curves_missing(ax: Axes, settings: Sequence[str]) -> None:
    """Say in the lower right corner of a panel which settings were not run."""
    if settings:
        words = textwrap.fill(f"{NOT_RUN}: {', '.join(settings)}", 24)
        text = ax.text(0.98, 0.03, words, transform=ax.transAxes, color="0.35", style="italic")
        text.set(ha="right", va="bottom", fontsize=7)


def _name_settings(figure: Figure) -> None:
    """The trained settings above all panels, each once, whether a panel has it or not."""
    from matplotlib.lines import Line2D

    looks = {setting: style.LOOKS[setting] for setting in TRAINED}
    handles = [
        Line2D([], [], linestyle=look.dash, marker=look.marker, color=look.color, label=setting)
        for setting, look in looks.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)


def resources_figure(frame: pd.DataFrame) -> Figure:
    """Trainable parameters, and bytes that one site sends in one round, per backbone and method."""
    if frame.empty:
        return nothing()
    names = [f"{row['method']}, {_short(row['backbone'])}" for row in frame.to_dict("records")]
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
        ax.text(value, place, text, va="center", fontsize=7)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlim(0, 1.25 * max(values.max(), 1))
    ax.set_xticks([])  # each bar carries its number
    ax.spines["bottom"].set_visible(False)
    ax.tick_params(axis="y", length=0)
