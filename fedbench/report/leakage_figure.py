"""Audits of leaks as a picture: defences as rows, an attack in each panel, the fit before all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fedbench.report import style
from fedbench.report.figures import nothing
from fedbench.report.leakage import HARDLY

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE, _FRAME, _HEAD = 0.2, 0.5, 0.75  #: inches: a row; a panel's title and axis; the legend
_APART = 0.3  #: rows between methods
_LOOKS = dict(zip(("lora", "ia3", "full"), style.apart(3), strict=True))


class _Panel(NamedTuple):
    """What is drawn of each row."""

    title: str
    column: str
    beside: str | None  #: drawn as a stroke
    chance: str | None  #: column of a dotted line
    scale: float
    limits: tuple[float, float] | None


_PANELS = (
    _Panel("fit to members, %", "fit", None, None, 100, None),
    _Panel("tokens of an example, %", "tokens", "tokens_baseline", None, 100, (-5, 105)),
    _Panel("members: AUC", "auc_ratio", "auc_loss", "auc_guessing", 1, None),
    _Panel("TPR at 1 % FPR, %", "tpr_ratio", "tpr_loss", None, 100, (-5, 105)),
    _Panel("canaries: bits", "exposure", "exposure_other", "exposure_chance", 1, None),
    _Panel("epsilon, at least", "epsilon", "epsilon_guesses", None, 1, None),
)
_STROKE = (
    "strokes: the commonest tokens; by loss; not inserted; by guesses\n"
    "hollow: the site learnt hardly anything: shows no protection\n"
    "dotted: guessing; last panel: × claimed epsilon, dashed: most provable"
)


def leakage_figure(frame: pd.DataFrame) -> Figure:
    """Six panels with a row per defence, from :func:`~fedbench.report.leakage.leakage`.

    Points are means over seeds and lines reach from ``*_low`` to ``*_high``; a stroke is a second
    attack or what was not trained on. Hollow points: the site learnt hardly anything.
    """
    known = frame[frame["n_seeds"] > 0]
    if known.empty:
        return nothing()
    defences = list(dict.fromkeys(known["defence"]))
    methods = list(dict.fromkeys(known["method"]))
    rows = len(_PANELS) // 2
    with style.look():
        figure = style.blank(_HEAD + rows * (_FRAME + _LINE * len(defences)))
        axes = figure.subplots(rows, 2, sharey=True)
        for ax, panel in zip(axes.flat, _PANELS, strict=True):
            _draw(ax, panel, known, defences, methods)
        axes[0, 0].set_ylim(len(defences) - 0.4, -0.6)
        figure.legend(
            handles=_handles(methods), loc="outside upper left", alignment="left", ncols=3,
            title=_STROKE, title_fontsize=7,
        )  # fmt: skip
    return figure


def _draw(
    ax: Axes, panel: _Panel, known: pd.DataFrame, defences: Sequence[str], methods: Sequence[str]
) -> None:
    for row in known.to_dict("records"):
        shift = _APART * (methods.index(row["method"]) - (len(methods) - 1) / 2)
        _point(ax, panel, row, defences.index(row["defence"]) + shift)
    if panel.chance:
        line = panel.scale * known[panel.chance].max()
        ax.axvline(line, color="0.35", linestyle=":", linewidth=0.8)
    if panel.column == "epsilon":
        ax.axvline(known["epsilon_provable"].max(), color="0.35", linestyle="--", linewidth=0.8)
        ax.set_xlim(-0.4, 1.5 * known["epsilon_provable"].max())
    elif panel.limits:
        ax.set_xlim(*panel.limits)
    ax.set_title(panel.title, loc="left")
    ax.set_yticks(range(len(defences)), [short(name) for name in defences])
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.set_axisbelow(True)


def _point(ax: Axes, panel: _Panel, row: Mapping[Any, Any], y: float) -> None:
    look = _LOOKS[row["method"]]
    x = panel.scale * row[panel.column]
    if x != x:
        return
    low, high = (panel.scale * row.get(f"{panel.column}{end}", x) for end in ("_low", "_high"))
    if low == low:
        ax.plot([low, high], [y, y], color=look.color, linewidth=0.8)
    face = "white" if row["fit"] < HARDLY else look.color
    ax.plot(x, y, look.marker, color=look.color, markerfacecolor=face)
    if panel.beside:
        stroke = panel.scale * row[panel.beside]
        ax.plot(stroke, y, "|", color=look.color, markersize=6, markeredgewidth=1.2)
    if panel.column == "epsilon":
        _claim(ax, row, y, look.color)


def short(defence: str) -> str:
    """A defence as the axis names it."""
    name = defence.partition(", claims")[0].replace("epsilon =", "ε =")
    return name.replace("defect: dp-sgd never applied", "defect: not applied")


def _claim(ax: Axes, row: Mapping[Any, Any], y: float, color: str) -> None:
    """The claimed epsilon where the axis reaches it; its number at the edge where not."""
    stroke, claimed, end = row["epsilon_guesses"], row["claimed"], 1.5 * row["epsilon_provable"]
    ax.plot(stroke, y, "|", color=color, markersize=6, markeredgewidth=1.2)
    if claimed != claimed:
        return
    if claimed < end:
        ax.plot(claimed, y, "x", color="black")
    else:
        ax.text(end, y, f"{claimed:g} ▸", ha="right", va="center", fontsize=6.5)


def _handles(methods: Sequence[str]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], linestyle="", marker=_LOOKS[m].marker, color=_LOOKS[m].color, label=m)
        for m in methods
    ]
