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
    scale: float = 1
    beside: tuple[str, ...] = ()  #: drawn as strokes, :data:`_STROKES` in turn
    stroke: str = ""  #: what these are, in words
    chance: str | None = None  #: column of a dotted line
    limits: tuple[float, float] | None = None


_STROKES = ("|", "_")
_OTHERS = "| by loss  — offline"
_SHARE = (-6.0, 106.0)
_PANELS = (
    _Panel("fit to members, %", "fit", 100),
    _Panel(
        "tokens read off, %",
        "tokens",
        100,
        ("tokens_baseline",),
        "| commonest tokens",
        limits=_SHARE,
    ),
    _Panel(
        "members: AUC",
        "auc_ratio",
        1,
        ("auc_loss", "auc_surprise"),
        _OTHERS,
        "auc_guessing",
        (0.42, 1.03),
    ),
    _Panel(
        "TPR at 1 % FPR, %", "tpr_ratio", 100, ("tpr_loss", "tpr_surprise"), _OTHERS, limits=_SHARE
    ),
    _Panel(
        "canaries: bits", "exposure", 1, ("exposure_other",), "| not inserted", "exposure_chance"
    ),
    _Panel("epsilon, at least", "epsilon", 1, ("epsilon_guesses",), "| by guesses"),
)
_LEGEND = (
    "hollow: the site learnt hardly anything, so that\nan attack that fails shows no protection\n"
    "dotted: guessing; ×: claimed epsilon;\ndashed: the most that points could have proven"
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
            title=_LEGEND, title_fontsize=8,
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
        _claims(ax, known, defences)
    elif panel.limits:
        ax.set_xlim(*panel.limits)
    ax.set_xlabel(panel.stroke, fontsize=7)
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
    for column, stroke in zip(panel.beside, _STROKES, strict=False):
        other = panel.scale * row[column]
        ax.plot(other, y, stroke, color=look.color, markersize=6, markeredgewidth=1.2)


def short(defence: str) -> str:
    """A defence as the axis names it."""
    name = defence.partition(", claims")[0].replace("epsilon =", "ε =")
    return name.replace("defect: dp-sgd never applied", "defect: not applied")


def _claims(ax: Axes, known: pd.DataFrame, defences: Sequence[str]) -> None:
    """The most that could be proven; claims where the axis reaches them, else at its end."""
    most = known["epsilon_provable"].max()
    end = 1.6 * most
    ax.axvline(most, color="0.35", linestyle="--", linewidth=0.8)
    ax.set_xlim(-0.06 * end, end)
    claims = known[known["check"] != ""].drop_duplicates("defence")
    for name, claimed in zip(claims["defence"], claims["claimed"], strict=True):
        y = defences.index(name)
        if claimed < most:
            ax.plot(claimed, y, "x", color="black")
        else:
            ax.text(end, y, f"× {claimed:g} →", ha="right", va="center", fontsize=7)


def _handles(methods: Sequence[str]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], linestyle="", marker=_LOOKS[m].marker, color=_LOOKS[m].color, label=m)
        for m in methods
    ]
