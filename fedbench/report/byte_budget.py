"""How good a run is for the bytes that it spent, and what it spends until it is good enough.

Two protocols of EdgeFlowerTune (arXiv:2605.08636), with bytes as the cost: quality under a budget,
and cost to a target. Both are read off the records of rounds that were run to their end, on
validation data that the sites hold and never on test items. Spent is what a run's ``byte_budget``
counts: every message and reply, both ways, those of validation included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from statistics import mean
from typing import TYPE_CHECKING, Any

from fedbench.report.cells import Cell
from fedbench.report.codec_table import codecs_of, federated
from fedbench.report.tables import facts_of
from fedbench.store import BYTES, MASKED, Run

if TYPE_CHECKING:
    import pandas as pd

TARGETS = (0.7, 0.8)  #: accuracies on validation data
BUDGETS = (3e6, 3e7, 1e8, 2e8, 3e8, 1e9)  #: bytes of all sites
_ABOUT = ("task", "task_title", "backbone", "method", "partition", "codec", "codec_down")
TARGET_COLUMNS = (
    *(*_ABOUT, "target", "reached", "n_seeds", "megabytes", "megabytes_least"),
    *("megabytes_most", "rounds", "synthetic", "runs"),
)
BUDGET_COLUMNS = (
    *(*_ABOUT, "megabytes", "within", "n_seeds", "mean", "least", "greatest"),
    *("rounds", "synthetic", "runs"),
)


def cost_to_target(runs: Iterable[Run], targets: Sequence[float] = TARGETS) -> pd.DataFrame:
    """Megabytes until the accuracy on validation data first was ``target``, a row per codec.

    Mean, least and most over the seeds of which ``reached`` had it at all; there is no mean where
    one of them never had it, as those that did are not all.
    """
    import pandas as pd

    rows = [_to_target(cell, target) for target in targets for cell in federated(runs)]
    return pd.DataFrame(rows, columns=list(TARGET_COLUMNS))


def quality_under_budget(runs: Iterable[Run], budgets: Sequence[float] = BUDGETS) -> pd.DataFrame:
    """The best accuracy on validation data of all rounds within a budget, a row per codec.

    Budgets are in bytes. A run of which not even the first round is within has no value, and where
    that is so of a seed there is no mean: ``within`` counts those that have one. ``rounds`` is the
    last round within, mean over seeds.
    """
    import pandas as pd

    rows = [_within(cell, budget) for budget in budgets for cell in federated(runs)]
    return pd.DataFrame(rows, columns=list(BUDGET_COLUMNS))


def spent_until(run: Run) -> list[int]:
    """Bytes up to and with each round, both ways, of all sites: validation, keys and shares too."""
    ways = (*BYTES, *MASKED)
    each = (sum(record.get(f"bytes_{way}", 0) for way in ways) for record in run.rounds)
    return list(accumulate(each))


def cost(run: Run, target: float) -> tuple[int, int] | None:
    """Rounds and bytes until ``target``; None if it was never reached."""
    for record, spent in zip(run.rounds, spent_until(run), strict=True):
        if (record["validation_accuracy"] or 0.0) >= target:
            return record["round"] + 1, spent
    return None


def quality(run: Run, budget: float) -> tuple[int, float] | None:
    """The last round within ``budget`` bytes and the best accuracy until it; None if none is."""
    heard = [record["validation_accuracy"] or 0.0 for record in run.rounds]
    count = sum(spent <= budget for spent in spent_until(run))
    return (count, max(heard[:count])) if count else None


def _to_target(cell: Cell, target: float) -> dict[str, Any]:
    found = [one for run in cell.runs if (one := cost(run, target))]
    row = _about(cell) | {"target": target, "reached": len(found), "n_seeds": len(cell.runs)}
    if len(found) < len(cell.runs):
        return row
    rounds, spent = zip(*found, strict=True)
    return row | {
        "megabytes": mean(spent) / 1e6,
        "megabytes_least": min(spent) / 1e6,
        "megabytes_most": max(spent) / 1e6,
        "rounds": mean(rounds),
    }


def _within(cell: Cell, budget: float) -> dict[str, Any]:
    found = [one for run in cell.runs if (one := quality(run, budget))]
    row = _about(cell) | {"megabytes": budget / 1e6, "within": len(found)}
    row["n_seeds"] = len(cell.runs)
    if len(found) < len(cell.runs):
        return row
    rounds, best = zip(*found, strict=True)
    values = {"mean": mean(best), "least": min(best), "greatest": max(best)}
    return row | values | {"rounds": mean(rounds)}


def _about(cell: Cell) -> dict[str, Any]:
    facts = facts_of(cell)
    names = ("task", "task_title", "backbone", "method", "partition", "synthetic", "runs")
    told = {name: facts[name] for name in names}
    return told | {"codec": cell.config.codec, "codec_down": cell.config.codec_down}


def side_by_side(frame: pd.DataFrame) -> pd.DataFrame:
    """Quality under a budget as people read it: a row per method and codecs, a column per budget.

    Accuracy on validation data in %, a dash where a budget does not pay a round of every seed.
    """
    import pandas as pd

    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in frame.to_dict("records"):
        own = rows.setdefault((row["method"], row["codec"], row["codec_down"]), {})
        known = row["mean"] == row["mean"]
        own[f"{row['megabytes']:g} MB"] = f"{100 * row['mean']:.1f}" if known else "–"
    names = ("method", "codec", "codec_down")
    return pd.DataFrame([dict(zip(names, key, strict=True)) | own for key, own in rows.items()])


def say_targets(frame: pd.DataFrame) -> str:
    """For every target, who reached it for the fewest bytes, and who never did."""
    lines = [
        f"- {title}, {100 * part['target'].iloc[0]:.0f} %: {_cheapest(part)}."
        for (title, _), part in frame.groupby(["task_title", "target"], sort=False)
    ]
    return "\n".join(lines) or "Nothing was run."


def _cheapest(part: pd.DataFrame) -> str:
    known = part[part["megabytes"].notna()].sort_values("megabytes").to_dict("records")
    never = [_name(row) for row in part[part["megabytes"].isna()].to_dict("records")]
    missed = f"; not reached on every seed: {', '.join(never)}" if never else ""
    if not known:
        return f"reached on every seed by none{missed}"
    ends = dict.fromkeys(f"{_name(row)} {row['megabytes']:.1f} MB" for row in (known[0], known[-1]))
    return f"{' to '.join(ends)} (fewest and most){missed}"


def _name(row: Mapping[Any, Any]) -> str:
    return f"{row['method']} {codecs_of(row)}"


def budget_caption(frame: pd.DataFrame) -> str:
    """Of quality under a budget."""
    seeds = int(frame["n_seeds"].max()) if len(frame) else 0
    return (
        "Quality under a budget (after EdgeFlowerTune, arXiv:2605.08636): the best accuracy (%) on "
        "the sites' validation data in any round within the budget, which counts all bytes of all "
        f"sites, both ways, validation included; mean over {seeds} seeds. A dash: the budget does "
        "not pay the first round of every seed. Learning rates are annealed over all rounds, "
        "so a run that was planned for the budget could do better."
    )


def target_caption(frame: pd.DataFrame) -> str:
    """Of the cost to a target."""
    seeds = int(frame["n_seeds"].max()) if len(frame) else 0
    return (
        "Cost to a target (after EdgeFlowerTune, arXiv:2605.08636): megabytes of all sites, both "
        "ways, validation included, until the accuracy on the sites' validation data first was the "
        f"target; mean, least and most over {seeds} seeds. No number: a seed never reached it."
    )
