"""One look for all figures: column width, 8 pt, colours that everybody can tell apart.

Colours: Okabe and Ito (2008), *Color Universal Design*. No setting is told by its colour alone:
each has a marker and a dash of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.figure import Figure

WIDTH = 3.5  #: inches: one column of a two-column page
TALLEST = 9.0  #: inches: what a page has room for
DPI = 200

RC: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "figure.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "grid.linewidth": 0.4,
    "grid.color": "0.88",
    "legend.frameon": False,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 1.0,
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
}


class Look(NamedTuple):
    """How one setting is drawn."""

    color: str
    marker: str
    dash: Literal["-", "--", "-.", ":"]


LOOKS = {
    "base": Look("#7A7A7A", "D", ":"),
    "local": Look("#E69F00", "s", "--"),
    "federated": Look("#0072B2", "o", "-"),
    "centralized": Look("#009E73", "^", "-."),
}

TONES = ("#0072B2", "#D55E00", "#CC79A7", "#56B4E9", "#009E73")  #: for bars that name themselves


def look() -> AbstractContextManager[None]:
    """Within this context everything is drawn in the common look."""
    from matplotlib import rc_context

    return rc_context(rc=RC)


def blank(height: float) -> Figure:
    """An empty figure, one column wide and ``height`` inches high, at most a page."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, min(height, TALLEST)), layout="constrained")
