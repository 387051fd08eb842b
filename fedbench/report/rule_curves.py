"""Figure of how rules converge: a panel per partition, a line per rule that is named at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from fedbench.profiles import FEDAVG
from fedbench.report import style
from fedbench.report.figures import nothing, title_of
from fedbench.report.rule_convergence import TOGETHER, own_adapters
from fedbench.report.rule_figures import span
from fedbench.report.rule_table import TARGET, trained_where

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL, _FRAME = 2.3, 0.45  #: inches: a panel, and what its titles take of it
_NAME = 0.12  #: inches between two names
_FEW = 5  #: rules that a panel is high enough for, however few it has
_LEFT = 1.06  #: where names begin, in widths of a panel
_AXES = {"round": "rounds", "megabytes": "megabytes sent, all sites and both directions"}

Along = Literal["round", "megabytes"]


def rule_convergence_figure(frame: pd.DataFrame, along: Along = "round") -> Figure:
    """Validation accuracy by round, or by megabytes: mean over seeds, band from least to greatest.

    ``frame`` is that of :func:`~fedbench.report.rule_convergence.rule_convergence`. FedAvg is
    thicker, beneath the others; every rule has a colour, marker and dash, and its name at its end.
    """
    if frame.empty:
        return nothing()
    panels = [part for _, part in frame.groupby(list(TOGETHER), sort=False)]
    shares = [max(_FEW, part["rule"].nunique()) for part in panels]
    looks = looks_of(sorted(frame["rule"].unique()))
    with style.look():
        figure = style.blank(0.5 + _PANEL * len(panels))
        axes = figure.subplots(
            len(panels), 1, squeeze=False, sharex=True, sharey=True, height_ratios=shares
        )[:, 0]
        for ax, part in zip(axes, panels, strict=True):
            where = trained_where(part.iloc[0].to_dict())
            for rule, line in part.groupby("rule", sort=False):
                _draw_line(ax, line, along, looks[str(rule)], usual=rule == FEDAVG)
            ax.axhline(100 * TARGET, color="0.25", linewidth=0.8, linestyle=":")
            ax.set_title(f"{title_of(part)}\n{where}", loc="left")
            ax.grid()
            ax.set_axisbelow(True)
        for ax, part, share in zip(axes, panels, shares, strict=True):
            height = figure.get_figheight() * share / sum(shares) - _FRAME
            _name_lines(ax, part, along, looks, _NAME / height)
        scale: Callable[[Axes], None] = {"megabytes": _logarithmic, "round": _whole}[along]
        scale(axes[-1])
        axes[-1].set_xlabel(_AXES[along])
        figure.supylabel("accuracy on validation data (%)")
    return figure


def _whole(ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _logarithmic(ax: Axes) -> None:
    """Because some rules send several times as much as others."""
    from matplotlib.ticker import LogLocator, NullLocator

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 3)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:g}")


def looks_of(rules: Sequence[str]) -> dict[str, style.Look]:
    """FedAvg as the federated setting is drawn everywhere, the others in turn."""
    others = [rule for rule in rules if rule != FEDAVG]
    return {FEDAVG: style.LOOKS["federated"]} | dict(
        zip(others, style.apart(len(others)), strict=True)
    )


def _draw_line(ax: Axes, line: pd.DataFrame, along: Along, look: style.Look, usual: bool) -> None:
    order, width, shade = (2, 3.2, 0.2) if usual else (3, 1.0, 0.07)
    low, high = 100 * line["least"], 100 * line["greatest"]
    ax.fill_between(line[along], low, high, color=look.color, alpha=shade, lw=0)
    ax.plot(line[along], 100 * line["mean"], look.dash, marker=look.marker, color=look.color,
            linewidth=width, markersize=3, zorder=order)  # fmt: skip


def _name_lines(
    ax: Axes, part: pd.DataFrame, along: Along, looks: Mapping[str, style.Look], gap: float
) -> None:
    """Names beside the panel in the order of the lines' ends, each tied to its own."""
    low, high = ax.get_ylim()
    ends = part.sort_values("round").groupby("rule").tail(1).sort_values("mean")
    heights = spread([(100 * mean - low) / (high - low) for mean in ends["mean"]], gap)
    for row, height in zip(ends.to_dict("records"), heights, strict=True):
        look, usual = looks[row["rule"]], row["rule"] == FEDAVG
        ax.annotate(
            row["rule"],
            xy=(row[along], 100 * row["mean"]),
            xytext=(_LEFT, height),
            textcoords="axes fraction",
            color=look.color,
            fontsize=7,
            fontweight="bold" if usual else "normal",
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": look.color,
                "linewidth": 0.5,
                "relpos": (0, 0.5),
            },
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending ``heights`` moved as little as keeps neighbours ``gap`` apart and below 1."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap) if placed else height)
    ceiling = 1.0
    for number in reversed(range(len(placed))):
        placed[number] = min(placed[number], ceiling)
        ceiling = placed[number] - gap
    return placed


def rule_convergence_caption(frame: pd.DataFrame) -> str:
    """Of :func:`rule_convergence_figure`."""
    if frame.empty:
        return "How rules converge: not run."
    return (
        f"Accuracy on the validation data of all sites ({span(frame['n_validation'])} items, "
        f"weighted by their number), mean over {span(frame['n_seeds'])} seeds; bands reach from "
        "the least to the greatest seed, the CSV holds the t interval over seeds. Dotted: the "
        f"target of {100 * TARGET:.0f} %. Learning rates follow a schedule that ends with the last "
        "round, so that an early round is not what a shorter run would give. No round is "
        f"chosen.{own_adapters(frame)}"
    )
