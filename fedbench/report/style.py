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

#: how things without a look of their own are told apart, in turn: no two share colour and marker
CYCLE = (
    Look("#D55E00", "s", "--"),
    Look("#009E73", "^", "-."),
    Look("#CC79A7", "D", ":"),
    Look("#E69F00", "v", "--"),
    Look("#56B4E9", "<", "-."),
    Look("#000000", "X", ":"),
    Look("#7A7A7A", "P", "--"),
)

#: what goes round with :data:`CYCLE` when there are more things than it has looks
_DASHES: tuple[Literal["-", "--", "-.", ":"], ...] = ("--", "-.", ":", "-")

TONES = ("#0072B2", "#D55E00", "#CC79A7", "#56B4E9", "#009E73")  #: for bars that name themselves


def look() -> AbstractContextManager[None]:
    """Within this context everything is drawn in the common look."""
    from matplotlib import rc_context

    return rc_context(rc=RC)


def apart(count: int) -> list[Look]:
    """As many looks, of which no two are the same: :data:`CYCLE`, then its colours recombined.

    Every further turn of the cycle gives each colour the marker of its next neighbour, and another
    dash. No two share colour and marker, up to as many turns as there are markers.
    """
    return [_recombined(*divmod(number, len(CYCLE))) for number in range(count)]


def _recombined(turn: int, place: int) -> Look:
    own, other = CYCLE[place], CYCLE[(place + turn) % len(CYCLE)]
    dash = _DASHES[(_DASHES.index(own.dash) + turn) % len(_DASHES)]
    return Look(own.color, other.marker, dash)


def blank(height: float) -> Figure:
    """An empty figure, one column wide and ``height`` inches high, at most a page."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, min(height, TALLEST)), layout="constrained")
