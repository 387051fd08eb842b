"""Figure of what FedAvg gains over training alone and over pooling, on every partition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fedbench.report import stats, style
from fedbench.report.figures import nothing
from fedbench.report.heterogeneity import GAINED, OTHERS
from fedbench.report.heterogeneity_figures import (
    FRAME,
    SHOWN,
    WORST_OF_MANY,
    heading,
    of_one_optimizer,
    said_of_scores,
    said_of_small_sites,
)
from fedbench.report.rule_figures import span
from fedbench.report.tables import NOT_RUN

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE = 0.34  #: inches that a partition takes
_APART = 0.25  #: share of that between one metric and the next
#: how metrics are told apart
_LOOKS = dict(zip(GAINED, style.CYCLE, strict=False))


def gains_figure(frame: pd.DataFrame) -> Figure:
    """Points that FedAvg has more than each other setting, on every partition that was run.

    A column of panels per other setting, a line per partition, a point with its 95 % interval per
    metric. A filled point is shown to differ after adjustment over partitions.
    """
    part = of_one_optimizer(frame)
    others = [other for other in OTHERS if len(part) and part[f"gain_over_{other}"].notna().any()]
    if not others:
        return nothing()
    places = {name: place for place, name in enumerate(part["partition"].unique())}
    with style.look():
        figure = style.blank(FRAME + _LINE * len(places))
        axes = figure.subplots(1, len(others), squeeze=False, sharey=True)[0]
        for ax, other in zip(axes, others, strict=True):
            for row in part[part[f"gain_over_{other}"].notna()].to_dict("records"):
                _draw_gain(ax, row, other, places[row["partition"]])
            ax.axvline(0, color="0.25", linewidth=0.8)
            ax.set_title(f"over {other}", loc="left")
            ax.grid(axis="x")
            ax.set_axisbelow(True)
        axes[0].set_yticks(range(len(places)), [*places])
        axes[0].set_ylim(len(places) - 0.5, -0.5)
        figure.supxlabel("points that FedAvg gains")
        figure.legend(
            handles=_metrics(),
            title=heading(part),
            loc="outside upper left",
            alignment="left",
            title_fontsize=8,
            ncols=3,
        )
    return figure


def _draw_gain(ax: Axes, row: Mapping[Any, Any], other: str, place: int) -> None:
    mean, low, high = (100 * row[f"gain_over_{other}{end}"] for end in ("", "_low", "_high"))
    look = _LOOKS[row["metric"]]
    shown = row[f"over_{other}"] in (f"above {other}", f"below {other}")
    ax.errorbar(
        mean,
        place + _APART * ([*_LOOKS].index(row["metric"]) - 1),
        xerr=[[mean - low], [high - mean]],
        marker=look.marker,
        color=look.color,
        markerfacecolor=look.color if shown else "white",
        elinewidth=0.8,
    )


def _metrics() -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], linestyle="", marker=look.marker, color=look.color, label=SHOWN[metric])
        for metric, look in _LOOKS.items()
    ]


def gains_caption(frame: pd.DataFrame) -> str:
    """Of :func:`gains_figure`, and of the table of all scores and gains."""
    part = of_one_optimizer(frame)
    gained = part[part["metric"].isin(GAINED)]
    if gained.empty:
        return f"What FedAvg has more than other settings: {NOT_RUN}."
    compared = {
        other: gained[gained[f"gain_over_{other}"].notna()]
        for other in OTHERS
        if gained[f"gain_over_{other}"].notna().any()
    }
    kinds = {kind for other, part in compared.items() for kind in part[f"gain_kind_over_{other}"]}
    tried = [
        f"{span(part.groupby('metric')['partition'].count())} for {other}"
        for other, part in compared.items()
    ]
    smallest = [
        f"{span(100 * part[f'smallest_over_{other}'], '.1f')} points over {other}"
        for other, part in compared.items()
    ]
    few = (
        " Where the interval over seeds decides, so few of them over so many partitions show "
        "hardly anything."
        if stats.OVER_SEEDS in kinds
        else ""
    )
    return (
        f"{said_of_scores(gained)} Gains of federated averaging are paired over seeds and items, "
        f"in percentage points, with 95 % interval ({', '.join(sorted(kinds))}), not adjusted. "
        f"Filled: p < 0.05 after Holm's adjustment over partitions ({', '.join(tried)}); hollow: "
        f"not shown. With a power of 80 %, {' and '.join(smallest)} would have been seen.{few} "
        "Centralized is trained on the pool, with the wrong answers and the wordings of sites "
        f"where a partition has them. {said_of_small_sites(gained)} {WORST_OF_MANY} On own items, "
        "a site that holds little but one answer is right by always giving it: a score there need "
        "not mean that anything was learned. Accuracy spread is the standard deviation over sites, "
        "chance of few items included; more of it is no gain, so it has none."
    )
