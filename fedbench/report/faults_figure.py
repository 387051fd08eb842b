"""Faults as a picture: accuracy, and what was lost in the end, by how likely answers are lost."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from fedbench.report import style
from fedbench.report.faults import NOBODY
from fedbench.report.figures import nothing, title_of
from fedbench.report.rule_figures import span
from fedbench.report.tables import NOT_RUN

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT = 3.9  #: inches
_APART = 0.8  #: percentage points between lines at the same place
_TITLE = 46  #: characters in a column


def faults_figure(frame: pd.DataFrame) -> Figure:
    """Test accuracy with 95 % intervals, and site-rounds lost in the end, a line per policy.

    ``frame`` is that of :func:`~fedbench.report.faults.faults`, of one task and partition. Every
    line begins where nobody fails.
    """
    known = frame[frame["n_seeds"] > 0]
    failing = known[known["policy"] != NOBODY]
    if failing.empty:
        return nothing()
    sound = known[known["policy"] == NOBODY]
    policies = list(dict.fromkeys(failing["policy"]))
    with style.look():
        figure = style.blank(_HEIGHT)
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        for place, (policy, look) in enumerate(
            zip(policies, style.apart(len(policies)), strict=True)
        ):
            part = failing[failing["policy"] == policy].sort_values("chance")
            rows = [*sound.to_dict("records"), *part.to_dict("records")]
            _draw(top, below, rows, look, (place - (len(policies) - 1) / 2) * _APART)
        if not sound.empty:
            top.axhline(100 * float(sound["mean"].iloc[0]), color="0.6", linewidth=0.8, zorder=1)
        top.set_ylabel("test accuracy (%)")
        below.set_ylabel("site-rounds\nlost in the end (%)")
        below.set_xlabel("chance that an attempt to answer is lost (%)")
        for ax in (top, below):
            ax.grid()
            ax.set_axisbelow(True)
        figure.legend(
            handles=[*_keys(policies)],
            loc="outside upper left",
            alignment="left",
            title=textwrap.fill(title_of(frame), _TITLE),
            title_fontsize=8,
        )
    return figure


def _draw(
    top: Axes, below: Axes, rows: list[dict[Any, Any]], look: style.Look, shift: float
) -> None:
    x = [100 * row["chance"] for row in rows]
    y = [100 * row["mean"] for row in rows]
    low = [100 * (row["mean"] - row["ci_low"]) for row in rows]
    high = [100 * (row["ci_high"] - row["mean"]) for row in rows]
    drawn: Any = {"color": look.color, "marker": look.marker, "linestyle": look.dash}
    beside = [place + shift for place in x]
    top.errorbar(beside, y, yerr=[low, high], elinewidth=0.6, capsize=1.5, **drawn)
    below.plot(x, [100 * row["share_lost"] for row in rows], **drawn)


def _keys(policies: list[str]) -> list[Any]:
    from matplotlib.lines import Line2D

    looks = zip(policies, style.apart(len(policies)), strict=True)
    return [
        *(
            Line2D([], [], color=k.color, marker=k.marker, ls=k.dash, label=f"who fails is {name}")
            for name, k in looks
        ),
        Line2D([], [], color="0.6", linewidth=0.8, label=NOBODY),
    ]


def faults_caption(frame: pd.DataFrame) -> str:
    """Of the table and of :func:`faults_figure`."""
    known = frame[frame["n_seeds"] > 0]
    if known.empty:
        return f"Sites that fail: {NOT_RUN}."
    compared = known[known["change"].notna()]
    missing = len(frame) - len(known)
    waits = ", ".join(f"{each:g} s" for each in sorted({*known["deadline"].dropna()}))
    return (
        f"Sites that fail in a round: accuracy on {span(known['n_test'])} common test items with "
        f"95 % interval ({_kinds(known, 'ci_kind')}), after {span(known['rounds'])} rounds among "
        f"{span(known['sites'])} sites. Chance: that the plan loses one attempt of a site to "
        f"answer within the deadline ({waits or 'none'}, simulated). Lost in the end: site-rounds "
        "whose update did not count; their work is not made up for. Change: difference to the same "
        f"federation in which nobody fails, paired over seeds and items "
        f"({_kinds(compared, 'change_kind')}); these {len(compared)} intervals are not adjusted "
        f"for their number. Counts are means over {span(known['n_seeds'])} runs; each draws its "
        f"own faults.{f' {missing} of {len(frame)} cells: {NOT_RUN}.' if missing else ''}"
    )


def _kinds(part: pd.DataFrame, column: str) -> str:
    return ", ".join(sorted(set(part[column].dropna())))
