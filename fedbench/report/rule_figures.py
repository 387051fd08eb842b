"""Figures of what a rule gains over FedAvg, and of what each site gains by joining."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from fedbench.profiles import FEDAVG
from fedbench.report import stats, style
from fedbench.report.figures import nothing, title_of
from fedbench.report.rule_table import NOT_TESTED, trained_where
from fedbench.report.scores import ACCURACY, WORST

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = {ACCURACY: "common items", WORST: "worst site"}
_LINE, _FRAME = 0.2, 0.8  #: inches: a rule; titles and axis
_ABOVE, _BELOW, _OPEN = style.TONES[0], style.TONES[1], "0.45"
#: how what is shown of a site is drawn: better, not shown, worse; colour, marker, whether filled
VERDICTS = ((_ABOVE, "^", True), (_OPEN, "o", False), (_BELOW, "v", True))
_JOINING = ("gains", "no difference shown", "loses")


def rules_figure(frame: pd.DataFrame) -> Figure:
    """Points gained over FedAvg with 95 % intervals: a row of panels per partition.

    ``frame`` is that of :func:`~fedbench.report.rule_table.rule_table`. A filled point is shown to
    differ after adjustment over rules; small points are single seeds. A rule that is not tested on
    the common items has its reason there instead.
    """
    others = frame[(frame["verdict"] != "") & frame["metric"].isin([*_SHOWN])]
    if others["gain"].isna().all():
        return nothing()
    keys = ["task_title", "partition", "optimizer"]
    groups = [part for _, part in others.groupby(keys, sort=False)]
    counts = [part["rule"].nunique() for part in groups]
    with style.look():
        figure = style.blank(sum(_FRAME + _LINE * count for count in counts))
        axes = figure.subplots(
            len(groups), len(_SHOWN), squeeze=False, sharex="col", height_ratios=counts
        )
        for row, part in enumerate(groups):
            where = trained_where(part.iloc[0].to_dict())
            for column, (metric, words) in enumerate(_SHOWN.items()):
                ax = axes[row, column]
                _draw_gains(ax, part[part["metric"] == metric], named=column == 0)
                ax.set_title(f"{where}\n{words}" if column == 0 else words, loc="left")
        for ax, words in zip(axes[-1], ("points over FedAvg", "points"), strict=True):
            ax.set_xlabel(words)
        figure.suptitle(textwrap.fill(title_of(others), 46), x=0.02, ha="left", fontsize=8)
    return figure


def _draw_gains(ax: Axes, part: pd.DataFrame, named: bool) -> None:
    rows = part.to_dict("records")
    for place, row in enumerate(rows):
        if row["gain"] == row["gain"]:
            _draw_gain(ax, row, place)
        else:
            ax.annotate(row["verdict"], (0.02, place), xycoords=("axes fraction", "data"),
                        va="center", fontsize=5.5, color=_OPEN,
                        bbox={"color": "white", "pad": 0.5})  # fmt: skip
    ax.axvline(0, color="0.25", linewidth=0.8)
    ax.set_yticks(range(len(rows)), [row["rule"] for row in rows] if named else [])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.set_axisbelow(True)


def _draw_gain(ax: Axes, row: Mapping[Any, Any], place: int) -> None:
    mean, low, high = (100 * row[name] for name in ("gain", "gain_low", "gain_high"))
    color = {"above FedAvg": _ABOVE, "below FedAvg": _BELOW}.get(row["verdict"], _OPEN)
    fill = "white" if color == _OPEN else color
    ax.errorbar(mean, place, xerr=[[mean - low], [high - mean]], marker="o", color=color,
                markerfacecolor=fill, elinewidth=0.8)  # fmt: skip
    seeds = [100 * float(value) for value in str(row["gain_per_seed"]).split()]
    ax.plot(seeds, [place + 0.25] * len(seeds), ".", color=color, markersize=2.5)


def rules_caption(frame: pd.DataFrame) -> str:
    """Of :func:`rules_figure`."""
    others = frame[frame["gain"].notna()]
    if others.empty:
        return "Rules beside FedAvg: not run."
    kinds = ", ".join(sorted(set(others["gain_kind"])))
    alike = ["task", "backbone", "method", "partition", "optimizer", "metric"]
    tried = others.groupby(alike)["rule"].count()
    few = (
        " Where the interval over seeds decides, so few of them over so many comparisons show "
        "hardly anything."
        if stats.OVER_SEEDS in kinds
        else ""
    )
    own = (
        " Where sites end with adapters of their own, a rule has no shared one to compare on the "
        "common items, and is not tested there; its score is the mean over all sites' adapters."
        if (frame["verdict"] == NOT_TESTED).any()
        else ""
    )
    return (
        "Accuracy over that of FedAvg in percentage points, paired over seeds and items: mean over "
        f"{span(others['n_seeds'])} seeds with 95 % interval ({kinds}); dots below a line: single "
        "seeds. Filled: shown to differ from FedAvg, p < 0.05 after Holm's adjustment over "
        f"{span(tried)} rules; hollow: not shown. After that adjustment, "
        f"{span(100 * others['smallest_difference'], '.1f')} points would have been seen with a "
        f"power of 80 %.{few}{own} The worst of several noisy scores is biased downward, more for "
        f"a rule that leaves sites alike. {said_of_sites(others)}"
    )


def joining_figure(frame: pd.DataFrame) -> Figure:
    """Every site's gain over training alone, on its own items, by its number of examples.

    ``frame`` is that of :func:`~fedbench.report.joining.joining`; a panel per partition and rule.
    """
    known = frame[frame["gain_over_local"].notna()]
    if known.empty:
        return nothing()
    rules = sorted(set(known["rule"]), key=lambda rule: (rule != FEDAVG, rule))
    dealt = list(dict.fromkeys(zip(known["task_title"], known["partition"], strict=True)))
    with style.look():
        figure = style.blank(1.1 + 1.4 * len(rules))
        axes = figure.subplots(len(rules), len(dealt), squeeze=False, sharex=True, sharey=True)
        for (rule, (task, partition)), ax in zip(product(rules, dealt), axes.flat, strict=True):
            of_task = known[(known["task_title"] == task) & (known["partition"] == partition)]
            part = of_task[of_task["rule"] == rule]
            draw_sites(ax, part, "gain_over_local", _JOINING)
            ax.set_title(f"{partition}\n{rule}", loc="left")
        for ax in axes[-1]:
            ax.set_xlabel("training examples")
        figure.supylabel("points over training alone")
        name_verdicts(figure, _JOINING, title_of(known))
    return figure


def draw_sites(ax: Axes, part: pd.DataFrame, column: str, verdicts: Sequence[str]) -> None:
    """A point per site, by its training examples; ``verdicts`` as in :data:`VERDICTS`."""
    for verdict, (color, marker, filled) in zip(verdicts, VERDICTS, strict=True):
        sites = part[part["verdict"] == verdict]
        ax.plot(
            sites["n_train"],
            100 * sites[column],
            marker,
            color=color,
            markerfacecolor=color if filled else "white",
        )
    ax.axhline(0, color="0.25", linewidth=0.8)
    ax.grid()
    ax.set_axisbelow(True)


def name_verdicts(figure: Figure, verdicts: Sequence[str], title: str = "") -> None:
    """Above all panels: how :func:`draw_sites` draws each verdict."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker=marker, color=color, label=verdict,
               markerfacecolor=color if filled else "white")
        for verdict, (color, marker, filled) in zip(verdicts, VERDICTS, strict=True)
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=3, title=title)


def joining_caption(frame: pd.DataFrame) -> str:
    """Of :func:`joining_figure`."""
    known = frame[frame["gain_over_local"].notna()]
    if known.empty:
        return "What a site gains by joining: not run."
    return (
        f"Accuracy of {adapter_scored(known)} by joining, less that of the adapter it trains "
        f"alone, on its own {span(known['n_test'])} test items, in percentage points; a point is "
        f"one site under one of {known['seed'].nunique()} seeds. Filled: shown by McNemar's exact "
        "test, p < 0.05 after Holm's adjustment over the sites of a run, and by a 95 % interval "
        "over item clusters; hollow: not shown. "
        f"{said_of_sites(known)}"
    )


def adapter_scored(frame: pd.DataFrame) -> str:
    """Whose adapter it is, naming the rules (``personal``) that leave each site one of its own."""
    own = " and ".join(frame[frame["personal"]]["rule"].unique())
    ends = "the adapter that a site ends with"
    return f"{ends} (its own under {own}; the shared one otherwise)" if own else ends


def said_of_sites(frame: pd.DataFrame) -> str:
    """How many sites are scored on own items, and what share of the examples they hold.

    ``frame`` has the columns :data:`~fedbench.report.cells.COVERAGE`.
    """
    sites = span(frame["sites"])
    if (frame["sites_trained"] == frame["sites"]).all():
        return f"All {sites} sites are scored on their own items."
    share = 100 * frame["n_train_used"] / frame["n_train_all"]
    return (
        f"Own items are those of {span(frame['sites_trained'], '.3g')} of {sites} sites, which "
        f"hold {span(share, '.1f')} % of the training examples: a site too small to train is not "
        "scored, and its examples are not used."
    )


def span(values: pd.Series[Any], form: str = ".0f") -> str:
    """The least and the greatest of some numbers, once where they are equal."""
    least, most = (format(float(value), form) for value in (values.min(), values.max()))
    return least if least == most else f"{least} to {most}"
