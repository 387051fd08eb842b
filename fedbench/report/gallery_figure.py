"""The gallery of defects as a picture: points that each adds or takes, with its interval."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fedbench.config import DEFECT
from fedbench.defects import DEFECTS
from fedbench.report import style
from fedbench.report.figures import nothing, title_of
from fedbench.report.gallery import NOTHING_SHOWN, ONLY_FLATTERS, RANGE
from fedbench.report.rule_figures import span
from fedbench.report.tables import NOT_RUN

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE, _FRAME = 0.24, 0.9  #: inches: a defect; titles and axis
_MORE, _LESS, _OPEN = style.TONES[1], style.TONES[0], "0.45"
_MARKERS = {RANGE: "D"}  #: of what has no interval; all else is round


def gallery_figure(frame: pd.DataFrame) -> Figure:
    """Points over what is right with 95 % intervals: a panel per partition, a row per defect.

    ``frame`` is that of :func:`~fedbench.report.gallery.gallery`. A filled point is shown to
    differ, a diamond is not tested; small points are single seeds.
    """
    known = frame[frame["n_seeds"] > 0]
    if known.empty:
        return nothing()
    groups = list(known.groupby("partition", sort=False))
    counts = [len(part) for _, part in groups]
    with style.look():
        figure = style.blank(sum(_FRAME + _LINE * count for count in counts))
        axes = figure.subplots(len(groups), 1, squeeze=False, sharex=True, height_ratios=counts)
        for ax, (partition, part) in zip(axes[:, 0], groups, strict=True):
            _draw(ax, part)
            ax.set_title(str(partition), loc="left")
        axes[-1, 0].set_xlabel("points that the defect adds to accuracy")
        figure.suptitle(textwrap.fill(title_of(known), 46), x=0.02, ha="left", fontsize=8)
    return figure


def _draw(ax: Axes, part: pd.DataFrame) -> None:
    rows = part.to_dict("records")
    for place, row in enumerate(rows):
        _draw_gain(ax, row, place)
    ax.axvline(0, color="0.25", linewidth=0.8)
    ax.set_yticks(range(len(rows)), [_name(row["defect"]) for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.set_axisbelow(True)


def _name(defect: str) -> str:
    return defect.removeprefix(DEFECT).replace("-", " ")


def _draw_gain(ax: Axes, row: Mapping[Any, Any], place: int) -> None:
    mean, low, high = (100 * row[name] for name in ("gain", "gain_low", "gain_high"))
    shown = row["verdict"] not in (NOTHING_SHOWN, ONLY_FLATTERS)
    color = (_MORE if mean > 0 else _LESS) if shown else _OPEN
    ax.errorbar(
        mean,
        place,
        xerr=[[mean - low], [high - mean]],
        marker=_MARKERS.get(row["gain_kind"], "o"),
        color=color,
        markerfacecolor=color if shown else "white",
        elinewidth=0.8,
    )
    seeds = [100 * float(value) for value in str(row["gain_per_seed"]).split()]
    ax.plot(seeds, [place + 0.27] * len(seeds), ".", color=color, markersize=2.5)


def gallery_caption(frame: pd.DataFrame) -> str:
    """Of the table and of :func:`gallery_figure`."""
    known = frame[frame["n_seeds"] > 0]
    if known.empty:
        return f"Defects of released systems: {NOT_RUN}."
    tested = known[known["gain_kind"] != RANGE]
    kinds = ", ".join(sorted(set(tested["gain_kind"]))) or "none tested"
    ours = [_name(name) for name in dict.fromkeys(known["defect"]) if DEFECTS[name].ours]
    return (
        "What defects of released systems, wrong on purpose here, add to test accuracy, in "
        "percentage points: paired with the right run over seeds and test items, mean over "
        f"{span(known['n_seeds'])} seeds with 95 % interval ({kinds}) on "
        f"{span(known['n_test'])} items; dots below a line: single seeds. Filled: the interval "
        "leaves out zero; hollow: no difference shown. Intervals are not adjusted for there being "
        f"{len(tested)} of them. A leak takes the place of as many training rows. The best round "
        "(diamond) is compared with the last of the same runs, on the test items of the sites that "
        "take part; it cannot be lower, so that it is not tested: its line is the range over seeds."
        + (f" Ours, and of no released system: {', '.join(ours)}." if ours else "")
    )
