"""Figures of what it costs that sites differ, and that there are many of them.

What FedAvg gains is drawn in :mod:`fedbench.report.heterogeneity_gains`. All draw the frame of
:func:`~fedbench.report.heterogeneity.heterogeneity`, of whichever optimizer it has first.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fedbench.config import TRAINED
from fedbench.report import style
from fedbench.report.figures import nothing, title_of
from fedbench.report.heterogeneity import as_many_sites
from fedbench.report.rule_figures import span
from fedbench.report.scores import ACCURACY, OWN, WORST
from fedbench.report.tables import NOT_RUN

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOT_RECORDED = "not recorded: how much sites differ"
SHOWN = {ACCURACY: "common items", OWN: "sites' own items", WORST: "worst site"}
_ROW, FRAME = 1.3, 1.0  #: inches: a panel; title, legend and axis
_NAME = 0.16  #: inches that the name of a point takes
_TITLE_WIDTH = 46  #: characters in a column
_KINDS = {"iid": "o", "dirichlet": "s", "label": "^", "quantity": "D", "natural": "v"}
#: ways of dealing that a measure tells apart, each with what it is dealt by
_SWEEPS = {
    "topic_divergence": ("by topic", ("iid", "dirichlet")),
    "label_divergence": ("by answer", ("iid", "label")),
}


class _Column(NamedTuple):
    """Panels that share their horizontal axis."""

    title: str
    across: str  #: column of the frame
    words: str
    part: pd.DataFrame


def heterogeneity_figure(frame: pd.DataFrame) -> Figure:
    """Accuracy of every trained setting against how much sites differ, as measured.

    A column of panels per way of dealing, by topic or by answer; a row per metric. A point is a
    partition of the commonest number of sites, the leftmost one dealt at random.
    """
    plain = _plain(frame)
    if plain.empty:
        return nothing()
    alike = as_many_sites(plain)
    columns = [
        _Column(title, measure, measure.replace("_", " "), part)
        for measure, (title, kinds) in _SWEEPS.items()
        if (part := alike[alike["kind"].isin(kinds) & alike[measure].notna()])["kind"].nunique() > 1
    ]
    return _panels(columns) if columns else nothing(why=NOT_RECORDED)


def heterogeneity_caption(frame: pd.DataFrame) -> str:
    """Of :func:`heterogeneity_figure`."""
    plain = _plain(frame)
    if plain.empty:
        return f"What it costs that sites differ: {NOT_RUN}."
    alike = as_many_sites(plain)
    return (
        f"{said_of_scores(alike)} Partitions into {span(alike['sites'])} sites, by how far what a "
        "site trains on is from what all do (Jensen-Shannon divergence, mean over seeds and over "
        f"sites weighted by training examples). {_OF_CHANCE} {said_of_small_sites(alike)} "
        f"{WORST_OF_MANY}"
    )


def measures_caption(frame: pd.DataFrame) -> str:
    """Of the table of how much sites and their updates differ."""
    if frame.empty:
        return f"How much sites differ: {NOT_RUN}."
    unknown = frame[frame["label_divergence"].isna()]["partition"].nunique()
    return (
        f"How much sites differ on {frame['partition'].nunique()} partitions, mean over "
        f"{span(frame['n_seeds'])} seeds. Divergence is that of Jensen and Shannon between what a "
        "site trains on and what all do, mean over sites weighted by training examples, 0: all "
        "alike; size imbalance is Gini's coefficient. Update spread, of the first round and mean "
        "over rounds, is 0 where sites of a round moved alike and 1 - 1/K where K moved as far in "
        f"unrelated directions; chance in batches alone makes it more than 0. {_OF_CHANCE} "
        "Only partitions with as many sites compare. Training examples are those of the sites "
        "that train." + (f" Measures are not recorded of {unknown} partitions." if unknown else "")
    )


def sites_figure(frame: pd.DataFrame) -> Figure:
    """Accuracy of every trained setting against the number of sites that hold the same examples.

    A column of panels per way of dealing that was run with several numbers of sites.
    """
    plain = _plain(frame)
    columns = [
        _Column(_dealt(part), "sites", "sites (same data)", part)
        for _, part in plain.groupby(["kind", "alpha"], sort=False, dropna=False)
        if part["sites"].nunique() > 1
    ]
    return _panels(columns) if columns else nothing()


def sites_caption(frame: pd.DataFrame) -> str:
    """Of :func:`sites_figure`."""
    plain = _plain(frame)
    if plain.empty:
        return f"Accuracy by number of sites: {NOT_RUN}."
    return (
        f"{said_of_scores(plain)} The same training examples are dealt to more and more sites, so "
        f"that each holds fewer. {said_of_small_sites(plain)} The worst site is the least of ever "
        "more scores, each of ever fewer items: that alone lowers it, for every setting."
    )


def spread_figure(frame: pd.DataFrame) -> Figure:
    """How far updates of a round differ, against how far the answers that sites hold do.

    A point per partition into the commonest number of sites, because both rise with that; its name
    stands beside it, and bars are intervals over seeds.
    """
    measured = _measured(frame)
    if measured.empty:
        return nothing(why=NOT_RECORDED if len(frame) else NOT_RUN)
    with style.look():
        figure = style.blank(max(2.4, 0.8 + _NAME * len(measured)))
        ax = figure.subplots()
        for row in measured.to_dict("records"):
            _draw_point(ax, row)
        ax.set_xlabel("label divergence of sites")
        ax.set_ylabel("spread of their updates")
        ax.grid()
        ax.set_axisbelow(True)
        _name_points(ax, measured)
        figure.suptitle(heading(measured), x=0.02, ha="left", fontsize=8)
    return figure


def spread_caption(frame: pd.DataFrame) -> str:
    """Of :func:`spread_figure`."""
    measured = _measured(frame)
    if measured.empty:
        return "How far updates differ: not recorded."
    return (
        "How far the updates of a round differ (mean over rounds; 0: all alike, 1 - 1/K: K of them "
        "unrelated and as long), against how far the answers that sites train on differ "
        "(Jensen-Shannon divergence). Federated averaging, mean over "
        f"{span(measured['n_seeds'])} seeds with 95 % interval (t over seeds) where there are "
        f"two, on the {len(measured)} partitions into {span(measured['sites'])} sites. Marker and "
        "colour: how examples are dealt; hollow: sites differ in something else too. "
        f"{_OF_CHANCE} Both rise with the number of sites, so that others are left out."
    )


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Partitions whose sites differ in what they hold only, by one optimizer."""
    plain = frame[(frame["besides"] == "") & frame["metric"].isin([*SHOWN])]
    return of_one_optimizer(plain)


def of_one_optimizer(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the optimizer that the frame has first."""
    return frame[frame["optimizer"] == frame["optimizer"].iloc[0]] if len(frame) else frame


def _measured(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per partition of which both divergence and spread are known, with as many sites."""
    known = frame[frame["label_divergence"].notna() & frame["update_spread"].notna()]
    return as_many_sites(known.drop_duplicates(["task", "backbone", "method", "partition"]))


def _dealt(part: pd.DataFrame) -> str:
    kind, alpha = part["kind"].iloc[0], part["alpha"].iloc[0]
    return f"{kind}-{alpha:g}" if alpha == alpha else str(kind)


def _panels(columns: Sequence[_Column]) -> Figure:
    with style.look():
        figure = style.blank(FRAME + _ROW * len(SHOWN))
        axes = figure.subplots(len(SHOWN), len(columns), squeeze=False, sharex="col", sharey="row")
        for row, (metric, words) in enumerate(SHOWN.items()):
            for ax, column in zip(axes[row], columns, strict=True):
                scored = column.part[column.part["metric"] == metric]
                _draw_settings(ax, scored.sort_values(column.across), column.across)
                ax.set_title(f"{column.title}\n{words}" if not row else words, loc="left")
        for ax, column in zip(axes[-1], columns, strict=True):
            _mark_axis(ax, column)
        figure.supylabel("accuracy (%)")
        figure.legend(
            handles=_settings(),
            title=heading(columns[0].part),
            loc="outside upper left",
            alignment="left",
            title_fontsize=8,
            ncols=3,
        )
    return figure


def _draw_settings(ax: Axes, part: pd.DataFrame, across: str) -> None:
    for setting in TRAINED:
        looks, known = style.LOOKS[setting], part[part[setting].notna()]
        ends = [
            100 * (known[setting] - known[f"{setting}_low"]),
            100 * (known[f"{setting}_high"] - known[setting]),
        ]
        ax.errorbar(
            known[across],
            100 * known[setting],
            yerr=ends,
            linestyle=looks.dash,
            marker=looks.marker,
            color=looks.color,
            elinewidth=0.8,
        )
    ax.grid()
    ax.set_axisbelow(True)


def _mark_axis(ax: Axes, column: _Column) -> None:
    ax.set_xlabel(column.words)
    if column.across == "sites":
        counts = sorted(int(count) for count in column.part["sites"].unique())
        ax.set_xscale("log", base=2)
        ax.set_xticks(counts, [str(count) for count in counts])


def _settings() -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], linestyle=look.dash, marker=look.marker, color=look.color, label=setting)
        for setting, look in style.LOOKS.items()
        if setting in TRAINED
    ]


def _ends(row: Mapping[Any, Any], name: str) -> list[list[float]] | None:
    """Lengths of an interval below and above its mean; none of a single seed."""
    low, mean, high = row[f"{name}_low"], row[name], row[f"{name}_high"]
    return None if low != low else [[mean - low], [high - mean]]


def _draw_point(ax: Axes, row: Mapping[Any, Any]) -> None:
    color = style.TONES[[*_KINDS].index(row["kind"])]
    ax.errorbar(
        row["label_divergence"],
        row["update_spread"],
        xerr=_ends(row, "label_divergence"),
        yerr=_ends(row, "update_spread"),
        marker=_KINDS[row["kind"]],
        color=color,
        markerfacecolor="white" if row["besides"] else color,
        elinewidth=0.6,
    )


def _name_points(ax: Axes, points: pd.DataFrame) -> None:
    """Names in a column beside the axes, in the order of height, each with a line to its point."""
    ordered = points.sort_values(["update_spread", "label_divergence"])
    for place, row in enumerate(ordered.to_dict("records")):
        ax.annotate(
            row["partition"],
            (row["label_divergence"], row["update_spread"]),
            (1.08, (place + 0.5) / len(ordered)),
            textcoords="axes fraction",
            va="center",
            annotation_clip=False,
            arrowprops={
                **{"arrowstyle": "-", "color": "0.7", "linewidth": 0.5},
                **{"relpos": (0, 0.5), "shrinkA": 0, "shrinkB": 2},
            },
        )


def heading(part: pd.DataFrame) -> str:
    """What stands above all panels."""
    return textwrap.fill(title_of(part), _TITLE_WIDTH)


def said_of_scores(frame: pd.DataFrame) -> str:
    """What the scores of a caption are."""
    kinds = ", ".join(sorted(set(frame["ci_kind"])))
    return (
        "Test accuracy of federated averaging, of sites that train alone and of one that holds "
        f"all, in %: mean over {span(frame['n_seeds'])} seeds with 95 % interval ({kinds}); "
        f"{span(frame[frame['metric'] == ACCURACY]['n_test'])} common test items."
    )


def said_of_small_sites(frame: pd.DataFrame) -> str:
    """How many sites train and are scored on own items, and what share of examples they hold."""
    if (frame["sites_trained"] == frame["sites"]).all():
        return f"All sites ({span(frame['sites'])}) train and are scored on their own items."
    fewer = frame[frame["sites_trained"] < frame["sites"]]
    sites = span(fewer["sites_trained"] / fewer["sites"] * 100)
    share = span(100 * fewer["n_train"] / fewer["n_train_all"], ".1f")
    return (
        "A site too small to train is not scored on its own items, and its examples are used by "
        f"centralized only, which is a part of that gain: on {fewer['partition'].nunique()} of "
        f"{frame['partition'].nunique()} partitions {sites} % of sites train, with {share} % of "
        "the examples."
    )


_OF_CHANCE = "Small sites diverge by chance: iid with as many sites shows by how much."
WORST_OF_MANY = (
    "The worst of several noisy scores is biased downward, and more so the fewer items a site has."
)
