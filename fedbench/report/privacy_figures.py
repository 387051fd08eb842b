"""Accuracy against epsilon, and epsilon against rounds, as pictures with their captions."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from fedbench.report import style
from fedbench.report.figures import nothing, title_of
from fedbench.report.privacy import LEARNS
from fedbench.report.rule_figures import span
from fedbench.report.tables import NOT_RUN

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL, _FRAME = 1.6, 1.1  #: inches: a panel; title, legend and axis
_APART = 0.16  #: places between methods at the same epsilon
_TITLE = 46  #: characters in a column
_LOOKS = dict(zip(("lora", "ia3", "full", "qlora"), style.apart(4), strict=True))
_HELD = ["sites_trained", "n_train"]  #: among how many a unit hides
_BASE, _MAJORITY = "0.25", "0.6"


def privacy_figure(frame: pd.DataFrame) -> Figure:
    """Accuracy with 95 % intervals against epsilon, a panel for every unit and partition.

    ``frame`` is that of :func:`~fedbench.report.privacy.privacy`; the last place on the axis are
    the same runs without privacy. Filled points are shown to be above base and majority.
    """
    known = frame[frame["epsilon"].notna()]
    if known.empty:
        return nothing()
    places = {value: place for place, value in enumerate(sorted({*known["epsilon"]}))}
    groups = [part for _, part in known.groupby(["adjacency", "partition", *_HELD], sort=False)]
    with style.look():
        figure = style.blank(_FRAME + _PANEL * len(groups))
        axes = figure.subplots(len(groups), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
        for ax, part in zip(axes, groups, strict=True):
            _draw(ax, part, places)
            ax.set_title(_panel(part), loc="left")
        axes[-1].set_xticks(range(len(places) + 1), [*(f"{e:g}" for e in places), "no privacy"])
        axes[-1].set_xlabel("epsilon, of simulated noise")
        figure.supylabel("test accuracy in %")
        named = [_LOOKS[name] for name in _methods(known)]
        figure.legend(
            handles=[*_keys(_methods(known), named), *_lines()],
            loc="outside upper left",
            alignment="left",
            title=textwrap.fill(_titles(known), _TITLE),
            title_fontsize=8,
            ncols=3,
        )
    return figure


def _panel(part: pd.DataFrame) -> str:
    """Whose privacy, and among how many."""
    row = part.iloc[0]
    return f"{row['adjacency']}\n{row['sites_trained']:.0f} sites, {row['n_train']:,.0f} examples"


def _titles(frame: pd.DataFrame) -> str:
    """The titles of all tasks."""
    return "; ".join(title_of(part) for _, part in frame.groupby("task", sort=False))


def _methods(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name in dict.fromkeys(frame["method"])]


def _draw(ax: Axes, part: pd.DataFrame, places: dict[float, int]) -> None:
    for number, method in enumerate(_methods(part)):
        rows = part[part["method"] == method].sort_values("epsilon").to_dict("records")
        shift = _APART * (number - (part["method"].nunique() - 1) / 2)
        look = _LOOKS[method]
        points = [(places[row["epsilon"]] + shift, row, "mean", "ci", "verdict") for row in rows]
        ax.plot([x for x, *_ in points], [100 * row["mean"] for row in rows],
                color=look.color, linestyle=look.dash, linewidth=0.8)  # fmt: skip
        if rows[0]["open"] == rows[0]["open"]:
            points.append((len(places) + shift, rows[0], "open", "open", "open_verdict"))
        for x, row, mean, ends, verdict in points:
            middle, low, high = (100 * row[n] for n in (mean, f"{ends}_low", f"{ends}_high"))
            face = look.color if row[verdict] == LEARNS else "white"
            ax.errorbar(x, middle, yerr=[[middle - low], [high - middle]], marker=look.marker,
                        color=look.color, markerfacecolor=face, elinewidth=0.8)  # fmt: skip
    for name, color, dash in (("base", _BASE, "--"), ("majority", _MAJORITY, ":")):
        if part[name].notna().any():
            ax.axhline(100 * part[name].mean(), color=color, linestyle=dash, linewidth=0.8)
    ax.axvline(len(places) - 0.5, color="0.8", linewidth=0.6)
    ax.set_xlim(-0.5, len(places) + 0.5)
    ax.set_ylim(0, 106)  # a point at 100 is seen whole
    ax.set_yticks(range(0, 101, 25))
    ax.grid(axis="y")
    ax.set_axisbelow(True)


def _keys(methods: list[str], looks: list[style.Look]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=look.color, marker=look.marker, linestyle=look.dash, label=name)
        for name, look in zip(methods, looks, strict=True)
    ]


def _lines() -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=_BASE, linestyle="--", label="base"),
        Line2D([], [], color=_MAJORITY, linestyle=":", label="majority"),
    ]


def privacy_caption(frame: pd.DataFrame) -> str:
    """Of the table and of :func:`privacy_figure`."""
    if frame.empty:
        return f"Accuracy under differential privacy: {NOT_RUN}."
    kinds = " or ".join(sorted(set(frame["ci_kind"])))
    seeds = span(frame["n_seeds"])
    return (
        f"Test accuracy of private federations in %, mean over {seeds} "
        f"{'seed' if seeds == '1' else 'seeds'} with 95 % interval ({kinds}) on "
        f"{span(frame['n_test'])} items. {promise(frame)} Filled points are shown to be above both "
        "the untuned backbone (base) and the majority answer of training (one-sided, adjusted by "
        "Holm's method over the table); hollow ones are not. No privacy (open in the table): the "
        "same federation without clipping and noise. Learning rates are those of runs without "
        "privacy: a search for each epsilon might find better ones, and would itself cost privacy."
    )


def promise(frame: pd.DataFrame) -> str:
    """Of whom epsilon tells, at which delta, by which accountant, and that noise was simulated."""
    adjacent = "; ".join(f'"{each}"' for each in dict.fromkeys(frame["adjacency"]))
    delta = ", ".join(f"{each:g}" for each in sorted(set(frame["delta"])))
    return (
        f"Neighbours differ in {adjacent}. Epsilon is that of simulated noise, whose seed is "
        f"known, so that nobody is protected by these runs; delta {delta}; accountant: "
        f"{_accountants(frame)}."
    )


def _accountants(frame: pd.DataFrame) -> str:
    name = "epsilon" if "epsilon_spent" in frame else "budget"
    told = {}
    for accountant, part in frame.groupby("accountant"):
        told[str(accountant)] = ", ".join(f"{each:g}" for each in sorted(set(part[name].dropna())))
    if len(told) == 1:
        return next(iter(told))
    return ", ".join(f"{key} (epsilon {values})" for key, values in told.items())


def epsilon_figure(frame: pd.DataFrame) -> Figure:
    """Epsilon after each round, of the first method of each unit and partition.

    ``frame`` is that of :func:`~fedbench.report.privacy.epsilon_by_round`, cut to one budget;
    what was spent does not depend on what is trained.
    """
    if frame.empty:
        return nothing()
    groups = [part for _, part in frame.groupby(["adjacency", *_HELD], sort=False)]
    with style.look():
        figure = style.blank(3.0 + 0.35 * len(groups))
        ax = figure.subplots()
        for look, part in zip(style.apart(len(groups)), groups, strict=True):
            one = part[part["runs"] == part["runs"].iloc[0]]
            ax.plot(one["round"], one["epsilon"], color=look.color, marker=look.marker,
                    linestyle=look.dash, label=_panel(part))  # fmt: skip
        for budget in sorted({*frame["budget"].dropna()}):
            ax.axhline(budget, color="0.4", linewidth=0.8)
        ax.set_xlabel("round")
        ax.set_ylabel("epsilon so far, of simulated noise")
        ax.set_ylim(bottom=0)
        ax.grid(axis="y")
        figure.legend(
            loc="outside upper left",
            alignment="left",
            title_fontsize=8,
            title=textwrap.fill(_titles(frame), _TITLE),
        )
    return figure


def epsilon_caption(frame: pd.DataFrame) -> str:
    """Of :func:`epsilon_figure`."""
    if frame.empty:
        return f"Epsilon by round: {NOT_RUN}."
    budgets = ", ".join(f"{each:g}" for each in sorted({*frame["budget"].dropna()}))
    return (
        "Epsilon so far after each round of one run, the most of any site, as its ledger has it; "
        f"the line is the budget, {budgets or 'none'}, for which noise was chosen over all rounds. "
        "Two runs that differ in what is trained spend the same. "
        f"{promise(frame)} Counted, without uncertainty."
    )
