"""Attacks as a picture: a square per rule and attack, its number in it, darker where it is more."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from fedbench.attacks import NONE
from fedbench.report import style
from fedbench.report.attacks import NOBODY, NOTHING_TO_LOSE, called
from fedbench.report.figures import nothing, title_of
from fedbench.report.paired import LOSES
from fedbench.report.rule_figures import span
from fedbench.report.tables import NOT_RUN

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE, _FRAME, _NAMES = 0.17, 0.36, 1.1  #: inches: an attack; a panel's title; names of rules
_DARK = 0.6  #: share of the scale from which on a number is written in white
_LEGEND = "rows: attack and share of hostile sites\n▼ shown to be below nobody hostile"
_WIDTH = 46  #: characters of the title


class _Panel(NamedTuple):
    """One heat map."""

    title: str
    column: str  #: of the frame: what is drawn, a fraction
    part: pd.DataFrame

    @property
    def attacks(self) -> list[tuple[str, float]]:
        """Rows: attack and share of hostile sites."""
        return list(dict.fromkeys(zip(self.part["attack"], self.part["hostile"], strict=True)))


def attacks_figure(frame: pd.DataFrame) -> Figure:
    """Accuracy, then success of attacks, in %: a panel per partition, rows attacks, columns rules.

    ``frame`` is that of :func:`~fedbench.report.attacks.attacks`, of one task. A triangle marks
    accuracy that is shown to be below that of the same rule with nobody hostile.
    """
    if not (frame["n_seeds"] > 0).any():
        return nothing()
    panels, rules = _panels(frame), list(dict.fromkeys(frame["rule"]))
    counts = [len(panel.attacks) for panel in panels]
    with style.look():
        figure = style.blank(_NAMES + sum(_FRAME + _LINE * count for count in counts))
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=counts)[:, 0]
        for ax, panel in zip(axes, panels, strict=True):
            _draw(ax, panel, rules)
        axes[-1].set_xticks(range(len(rules)), short_names(rules), rotation=40, ha="right")
        title = "\n".join([textwrap.fill(title_of(frame), _WIDTH), _LEGEND])
        figure.suptitle(title, x=0.02, ha="left", fontsize=8)
    return figure


def _panels(frame: pd.DataFrame) -> list[_Panel]:
    """Those of accuracy, then those of attacks that are after certain answers."""
    groups = [(str(name), part) for name, part in frame.groupby("partition", sort=False)]
    sought = set(frame[frame["success"].notna()]["attack"])
    wanted = [(name, part[part["attack"].isin(sought)]) for name, part in groups]
    return [
        *(_Panel(f"accuracy (%), {name}", "mean", part) for name, part in groups),
        *(
            _Panel(f"attack got its answer (%), {name}", "success", part)
            for name, part in wanted
            if not part.empty
        ),
    ]


def short_names(rules: Sequence[str]) -> list[str]:
    """Rules without their options, where that tells them apart."""
    short = [rule.partition(":")[0] for rule in rules]
    return [
        name if short.count(name) == 1 else rule for name, rule in zip(short, rules, strict=True)
    ]


def _draw(ax: Axes, panel: _Panel, rules: Sequence[str]) -> None:
    import numpy as np

    places = {attack: place for place, attack in enumerate(panel.attacks)}
    values = np.full((len(places), len(rules)), np.nan)
    for row in panel.part.to_dict("records"):
        place = places[row["attack"], row["hostile"]], rules.index(row["rule"])
        values[place] = 100 * row[panel.column]
        _write(ax, place, values[place], row["verdict"] == LOSES and panel.column == "mean")
    ax.imshow(values, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    ax.set_yticks(range(len(places)), [_named(*attack) for attack in places])
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.set_title(panel.title, loc="right", pad=3)
    ax.spines[:].set_visible(False)


def _named(attack: str, hostile: float) -> str:
    return NOBODY if attack == NONE else f"{called(attack)}: {100 * hostile:.0f} %"


def _write(ax: Axes, place: tuple[int, int], value: float, worse: bool) -> None:
    """The number in its square; in words where there is none, and a triangle where it is worse."""
    y, x = place
    known = value == value
    color = "white" if known and value > 100 * _DARK else "black"
    text, size = (f"{value:.0f}", 7) if known else (NOT_RUN.replace(" ", "\n"), 4.5)
    ax.text(x, y, text, ha="center", va="center", color=color, fontsize=size)
    if worse:
        ax.plot(x + 0.36, y, "v", color=color, markersize=2.5)


def attacks_caption(frame: pd.DataFrame) -> str:
    """Of the table and of :func:`attacks_figure`."""
    known = frame[frame["n_seeds"] > 0]
    if known.empty:
        return f"Hostile sites: {NOT_RUN}."
    compared, sought = known[known["change"].notna()], known[known["success"].notna()]
    missing = len(frame) - len(known)
    return (
        "What hostile sites do to a federation, by rule: accuracy on "
        f"{span(known['n_test'])} common test items with 95 % interval "
        f"({_kinds(known, 'ci_kind')}), after {span(known['rounds'])} rounds among "
        f"{span(known['sites'])} sites. "
        f"{_compared(compared)}{_sought(sought)}{_of_seeds(known)}"
        f"{_options(known)}{f' {missing} of {len(frame)} cells: {NOT_RUN}.' if missing else ''}"
    )


def _kinds(part: pd.DataFrame, column: str) -> str:
    return ", ".join(sorted(set(part[column].dropna())))


def _compared(part: pd.DataFrame) -> str:
    if part.empty:
        return ""
    return (
        "Change: difference to the same rule with nobody hostile, paired over seeds and items "
        f"({_kinds(part, 'change_kind')}); a triangle marks where its interval lies below zero. "
        "A rule that is not shown to beat the training majority with nobody hostile "
        f"({_unskilled(part)}) had nothing to lose: it is not shown to withstand anything. "
        f"These {len(part)} intervals are not adjusted for their number. "
    )


def _unskilled(part: pd.DataFrame) -> str:
    """Which rules these are, and where."""
    rows = part[part["verdict"] == NOTHING_TO_LOSE]
    names = rows["rule"] + " on " + rows["partition"]
    return ", ".join(dict.fromkeys(names)) or "none here"


def _sought(part: pd.DataFrame) -> str:
    if part.empty:
        return ""
    return (
        "Success (it got its answer): the share of items answered as the attacker wants, of the "
        f"{span(part['n_success'])} for which that is wrong, with a backdoor's trigger in the "
        f"question ({_kinds(part, 'success_kind')}, taking those of a cluster for one); beside it "
        "the same without the trigger, and of the federation with nobody hostile. "
    )


def _of_seeds(part: pd.DataFrame) -> str:
    seeds = sorted({int(seed) for row in part["seeds"] for seed in str(row).split()})
    if len(seeds) > 1:
        return f"{span(part['n_seeds'])} seeds."
    return (
        f"One seed ({seeds[0]}), which also draws who is hostile: intervals are over items of "
        "single runs, and say nothing of other seeds."
    )


def _options(part: pd.DataFrame) -> str:
    """The options of rules, which the picture leaves out."""
    given = [rule for rule in dict.fromkeys(part["rule"]) if ":" in rule]
    return f" Options: {', '.join(given)}." if given else ""
