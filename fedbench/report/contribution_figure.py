"""Figure of what each site contributes to a federation, by its number of training examples."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from fedbench.report import style
from fedbench.report.contribution import COMMON, CONTRIBUTES, HARMS, OPEN, OTHERS, OWN
from fedbench.report.figures import nothing, title_of
from fedbench.report.rule_figures import draw_sites, name_verdicts, span

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WORDS = {
    COMMON: "on the common test items",
    OTHERS: "on the other sites' items",
    OWN: "on the site's own items",
}
_WIDTH = 46  #: characters above a panel
_STEP = 0.01  #: share of the largest site by which a seed is drawn beside the one before
_SHOWN = (CONTRIBUTES, OPEN, HARMS)


def contribution_figure(frame: pd.DataFrame) -> Figure:
    """Every site's leave-one-out value with its 95 % interval over items, by its size.

    ``frame`` is that of :func:`~fedbench.report.contribution.contribution`; a panel per partition
    and kind of test items.
    """
    known = frame[frame["contribution"].notna()]
    if known.empty:
        return nothing()
    panels = list(known.groupby(["task_title", "partition", "rule", "items"], sort=False))
    with style.look():
        figure = style.blank(0.8 + 1.7 * len(panels))
        axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
        for ax, ((_, partition, rule, items), part) in zip(axes, panels, strict=True):
            apart = _apart(part)
            _draw_intervals(ax, apart)
            draw_sites(ax, apart, "contribution", _SHOWN)
            title = textwrap.fill(title_of(part), _WIDTH)
            ax.set_title(f"{title}\n{partition}, {rule}, {_WORDS[str(items)]}", loc="left")
        axes[-1].set_xlabel("training examples of the site left out")
        figure.supylabel("points lost without the site")
        name_verdicts(figure, _SHOWN)
    return figure


def _apart(part: pd.DataFrame) -> pd.DataFrame:
    """Sites of equal size moved a little to the right, seed by seed, so that each is seen."""
    seeds = {seed: number for number, seed in enumerate(sorted(part["seed"].unique()))}
    step = _STEP * part["n_train"].max()
    return part.assign(n_train=part["n_train"] + step * part["seed"].map(seeds))


def _draw_intervals(ax: Axes, part: pd.DataFrame) -> None:
    low, high = 100 * part["contribution_low"], 100 * part["contribution_high"]
    ax.vlines(part["n_train"], low, high, color="0.7", linewidth=0.8)


def contribution_caption(frame: pd.DataFrame) -> str:
    """Of :func:`contribution_figure` and of the table behind it."""
    known = frame[frame["contribution"].notna()]
    if known.empty:
        return "What each site contributes: not run."
    return (
        "Accuracy of the federation of all sites less that of the federation without one site, in "
        "percentage points: on the common test items, on those of the other sites, and on the "
        f"left-out site's own ({_numbers(known)}). A point is one site under one of "
        f"{known['seed'].nunique()} seeds, which deal the data anew; all sites of a seed are "
        "compared with the same federation. Lines: 95 % interval over clusters of items, of the "
        "two adapters at hand: that training again would give others is not in it. Sites of equal "
        "size are drawn side by side. Filled: p < 0.05 by McNemar's exact test, after Holm's "
        "adjustment over the sites of a seed, and an interval that agrees. Leave-one-out values: "
        "sites that hold the same facts get zero."
    )


def contribution_mean_caption(summary: pd.DataFrame) -> str:
    """Of the table of :func:`~fedbench.report.contribution.contribution_summary`."""
    if summary.empty:
        return "What sites contribute in the mean: not run."
    kinds = ", ".join(sorted(set(summary["ci_kind"])))
    return (
        "Points of accuracy lost without a site: mean over sites that train and over "
        f"{span(summary['n_seeds'])} seeds, {span(summary['n_sites'])} pairs of seed and site, "
        f"with 95 % interval ({kinds}), on {_numbers(summary)} of a site and seed in the mean. "
        "Contributing, harming: sites shown to by McNemar's exact test, adjusted over the sites of "
        "a seed, and an interval that agrees, of two adapters each; training again might differ. "
        "Idle: too small to train. Rank correlation: Spearman's, with training examples, within a "
        "seed, mean over seeds with 95 % t interval."
    )


def _numbers(known: pd.DataFrame) -> str:
    sizes = known.groupby("items", sort=False)["n_test"]
    return ", ".join(f"{items}: {span(part)} items" for items, part in sizes)
