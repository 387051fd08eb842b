"""How unequal a rule leaves sites: each one's accuracy, on its own items, with what it ends with.

That is the shared adapter, or the site's own under rules that leave it one.

Sites hold few test items, so that their accuracies would spread even if the adapter were equally
good everywhere. Beside the standard deviation over sites therefore stands the one that chance alone
would give. The range, from the worst site to the best, is wider the more sites there are.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from fedbench.profiles import FEDAVG
from fedbench.report import stats, style
from fedbench.report.cells import COVERAGE, cells, coverage, holders, whole
from fedbench.report.figures import nothing, title_of
from fedbench.report.rule_figures import adapter_scored, said_of_sites, span
from fedbench.report.rule_table import beside_fedavg, trained_where
from fedbench.report.scores import deviation, right_by_site
from fedbench.rules import is_personal
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_ABOUT = ("task", "task_title", "backbone", "method", "optimizer", "partition", "rule")
_TOGETHER = ["task_title", "partition", "optimizer"]  #: what rules of a panel have in common
Mark = dict[str, Any]  #: how points are drawn
SITE_COLUMNS = (
    *(*_ABOUT, "seed", "site", "n_train", "n_test", "accuracy"),
    *("personal", *COVERAGE, "synthetic", "runs"),
)
SPREAD_COLUMNS = (
    *(*_ABOUT, "n_seeds", "n_sites", "n_test", "mean", "worst"),
    *("range", "range_low", "range_high", "sd", "sd_low", "sd_high", "sd_by_chance"),
    *("ci_kind", "synthetic", "runs"),
)
_LINE, _FRAME = 0.22, 0.9  #: inches: a rule; titles and axis
_TITLE_WIDTH = 38  #: characters above a panel beside which rules are named
_SITE: Mark = {"marker": "o", "alpha": 0.35, "markersize": 3, "markeredgewidth": 0}
_MEAN: Mark = {"marker": "|", "markersize": 11, "markeredgewidth": 1.6}
_WORST: Mark = {"marker": "^", "markersize": 4, "color": style.TONES[1]}


def sites_by_rule(runs: Iterable[Run]) -> pd.DataFrame:
    """A row per partition, rule, seed and site: the accuracy on the site's own test items.

    ``personal`` tells that it is of an adapter of the site's own. Sites too small to train are left
    out.
    """
    import pandas as pd

    found = [cell for cell in whole(cells(runs)) if cell.config.setting == "federated"]
    where = holders(found)
    rows = []
    for cell in (cell for group in beside_fedavg(found) for cell in group):
        for run in cell.runs:
            seed, config = run.config.seed, cell.config
            right = right_by_site(cell, seed, where[config.task, config.partition, seed])
            for site in (site for site in run.sites if right.get(str(site["site"]))):
                mine = right[str(site["site"])]
                about = {n: getattr(config, n) for n in ("task", "backbone", "method", "optimizer")}
                about |= {"rule": cell.rule, "personal": is_personal(config)}
                about |= {"task_title": run.metrics["task_title"], "partition": cell.partition}
                about |= {"seed": seed, "site": site["site"], "n_train": site["n_train"]}
                scored = {"n_test": len(mine), "accuracy": sum(mine.values()) / len(mine)}
                origin = {"synthetic": bool(run.metrics["synthetic"]), "runs": run.id}
                origin |= coverage(run)
                rows.append(about | scored | origin)
    return pd.DataFrame(rows, columns=list(SITE_COLUMNS))


def site_spread(sites: pd.DataFrame) -> pd.DataFrame:
    """A row per partition and rule: mean, worst site, range and standard deviation over sites.

    All are taken within a seed and averaged, in fractions. The intervals are Student's t over
    seeds; none of a single seed. ``sd_by_chance`` is what the standard deviation over these sites
    would be about if all items were answered with the same probability, independently of one
    another.
    """
    import pandas as pd

    groups = sites.groupby(list(_ABOUT), sort=False)
    rows = [dict(zip(_ABOUT, about, strict=True)) | _spread(part) for about, part in groups]
    return pd.DataFrame(rows, columns=list(SPREAD_COLUMNS))


def _spread(part: pd.DataFrame) -> dict[str, Any]:
    seeds = [(one["accuracy"], one["n_test"]) for _, one in part.groupby("seed")]
    ranges = [float(scores.max() - scores.min()) for scores, _ in seeds]
    deviations = [float(deviation(scores.to_numpy())) for scores, _ in seeds]
    chance = [_by_chance(float(scores.mean()), sizes) for scores, sizes in seeds]
    return {
        "n_seeds": len(seeds),
        "n_sites": len(part) / len(seeds),
        "n_test": float(part["n_test"].mean()),
        "mean": fmean([float(scores.mean()) for scores, _ in seeds]),
        "worst": fmean([float(scores.min()) for scores, _ in seeds]),
        **_over_seeds("range", ranges),
        **_over_seeds("sd", deviations),
        "sd_by_chance": fmean(chance),
        "ci_kind": stats.OVER_SEEDS if len(seeds) > 1 else "none: one seed",
        "synthetic": bool(part["synthetic"].iloc[0]),
        "runs": " ".join(dict.fromkeys(part["runs"])),
    }


def _by_chance(share: float, sizes: pd.Series[Any]) -> float:
    """The sites' own mean is nearer to them than the truth is: hence one site less."""
    sites = len(sizes)
    return float(np.sqrt((sites - 1) / sites * (share * (1 - share) / sizes).mean()))


def _over_seeds(name: str, values: Sequence[float]) -> dict[str, float]:
    if len(values) < 2:
        return {name: fmean(values)}
    found = stats.seed_interval(np.asarray(values))
    low, high = max(0.0, found.low), min(1.0, found.high)
    return {name: found.mean, f"{name}_low": low, f"{name}_high": high}


def site_spread_figure(sites: pd.DataFrame) -> Figure:
    """Every site's accuracy on its own items, in a line per rule; a panel per partition.

    ``sites`` is that of :func:`sites_by_rule`. Dots are sites of all seeds; the tall stroke is the
    mean over sites and seeds, the triangle the worst site, mean over seeds.
    """
    if sites.empty:
        return nothing()
    groups = [part for _, part in sites.groupby(_TOGETHER, sort=False)]
    counts = [part["rule"].nunique() for part in groups]
    with style.look():
        figure = style.blank(sum(_FRAME + _LINE * count for count in counts))
        axes = figure.subplots(len(groups), 1, squeeze=False, sharex=True, height_ratios=counts)
        for ax, part in zip(axes[:, 0], groups, strict=True):
            _draw_rules(ax, part, site_spread(part).to_dict("records"))
            title = textwrap.fill(title_of(part), _TITLE_WIDTH)
            ax.set_title(f"{title}\n{trained_where(part.iloc[0].to_dict())}", loc="left")
        axes[-1, 0].set_xlabel("accuracy on a site's own test items (%)")
        figure.legend(handles=_handles(), loc="outside upper center", ncols=3)
    return figure


def _draw_rules(ax: Axes, part: pd.DataFrame, rows: Sequence[Mapping[Any, Any]]) -> None:
    for place, row in enumerate(rows):
        color = style.LOOKS["federated"].color if row["rule"] == FEDAVG else "0.25"
        accuracy = 100 * part[part["rule"] == row["rule"]]["accuracy"]
        ax.plot(accuracy, [place] * len(accuracy), linestyle="", color=color, **_SITE)
        ax.plot(100 * row["mean"], place, linestyle="", color=color, **_MEAN)
        ax.plot(100 * row["worst"], place + 0.3, linestyle="", **_WORST)
    ax.set_yticks(range(len(rows)), [row["rule"] for row in rows])
    ax.set_ylim(len(rows) - 0.4, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.set_axisbelow(True)


def _handles() -> list[Line2D]:
    from matplotlib.lines import Line2D

    marks = {"one site": _SITE, "mean": _MEAN, "worst site": _WORST}
    return [
        Line2D([], [], linestyle="", label=label, **{"color": "0.25", **mark})
        for label, mark in marks.items()
    ]


def site_spread_caption(sites: pd.DataFrame) -> str:
    """Of :func:`site_spread_figure` and of the table of :func:`site_spread`."""
    if sites.empty:
        return "Accuracy by site: not run."
    counted = sites.groupby([*_TOGETHER, "rule"])["seed"].nunique()
    items = span(sites["n_test"])
    return (
        f"Accuracy of {adapter_scored(sites)}, on the site's own test items ({items} items), "
        f"{span(counted)} seeds. Dots: sites of all seeds; stroke: mean; triangle: worst site of "
        "a seed, mean over seeds. Range and standard deviation over sites are taken within a seed, "
        "with the 95 % t interval over seeds. Sites spread by chance alone, too: about as the last "
        "deviation says, and somewhat more where items share a cause. The worst of several noisy "
        "scores is biased downward, more for a rule that leaves sites alike. "
        f"{said_of_sites(sites)}"
    )


def say_site_spread(spread: pd.DataFrame) -> str:
    """How far sites lie apart under each rule, beside what chance alone would give, in words."""
    lines = []
    for (task, *_), part in spread.groupby(_TOGETHER, sort=False):
        told = "; ".join(
            f"{row['rule']} {_spanned(row)} (worst {100 * row['worst']:.1f} %, range "
            f"{100 * row['range']:.1f})"
            for row in part.to_dict("records")
        )
        chance = 100 * part["sd_by_chance"]
        lines.append(
            f"- {task}, {trained_where(part.iloc[0].to_dict())}: standard deviation over sites in "
            f"points: {told}. These are point estimates, with the 95 % interval over seeds where "
            "there is one, and no rule is tested against another. "
            f"By chance alone it would be about {chance.min():.1f} to {chance.max():.1f}."
        )
    return "\n".join(lines) or "No rule was run."


def _spanned(row: Mapping[Any, Any]) -> str:
    mean, low, high = (100 * row[name] for name in ("sd", "sd_low", "sd_high"))
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]" if low == low else f"{mean:.1f}"
