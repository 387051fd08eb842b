"""What differential privacy costs: every private federation beside the same one without privacy.

Epsilon is that of the mechanism as it was simulated. Its noise is a function of the seed, so that
nobody is protected by these very runs; a federation of real sites draws noise that nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fedbench.config import RunConfig
from fedbench.protection import PrivacyConfig
from fedbench.report import stats
from fedbench.report.cells import Cell, cells, counterpart
from fedbench.report.scores import ACCURACY, mean_of
from fedbench.report.tables import NOT_RUN, SIGNIFICANT, facts_of, score_row
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

UNITS = {"example": "one example of a site", "site": "one site"}
LEARNS = "above base and majority"
NOTHING_LEARNT = "no learning shown"
REFERENCES = ("base", "majority")  #: which a model that learnt something is above
PRIVACY_COLUMNS = (
    *("task", "task_title", "backbone", "method", "partition", "sites", "sites_trained"),
    *("n_train", "rule", "unit", "adjacency", "epsilon", "epsilon_spent", "delta", "accountant"),
    *("noise", "clip", "rounds", "passes", "learning_rate"),
    *("metric", "mean", "ci_low", "ci_high", "ci_kind", "n_seeds", "n_test", "per_seed"),
    *("base", "majority", "p_base", "p_majority", "verdict"),
    *("open", "open_low", "open_high", "open_verdict"),
    *("gain", "gain_low", "gain_high", "gain_kind", "p_open", "smallest_difference", "beside_open"),
    *("synthetic", "runs"),
)
ROUND_COLUMNS = (
    *(
        "task",
        "task_title",
        "backbone",
        "method",
        "partition",
        "sites_trained",
        "n_train",
        "unit",
        "adjacency",
    ),
    *("budget", "delta", "accountant", "noise", "seed", "round", "epsilon", "synthetic", "runs"),
)


class _Compared(NamedTuple):
    """Tests of one row, not adjusted yet."""

    row: dict[str, Any]
    above: Mapping[str, stats.Estimate]  #: of the private runs, what they have over each reference
    open_above: Mapping[str, stats.Estimate]  #: the same of the runs without privacy
    price: stats.Estimate | None  #: what the private runs have more than those


def privacy(runs: Iterable[Run]) -> pd.DataFrame:
    """A row per private federation, in fractions; ``open`` is the same one without privacy.

    ``epsilon`` is the budget (NaN where only noise was set), ``epsilon_spent`` the most that any
    site or any site's example came to. ``p_base`` and ``p_majority`` are one-sided, that accuracy
    is not above the untuned backbone or the majority answer of training; they and those of the open
    runs are adjusted together by Holm's method over the table. ``gain`` is what the private runs
    have more than the open ones, paired over seeds and items; ``p_open`` is its two-sided p-value,
    adjusted over the table, and ``smallest_difference`` what would have been seen after that.
    """
    import pandas as pd

    found = [cell for cell in cells(runs) if cell.runs]
    compared = [_compared(cell, found) for cell in found if cell.config.privacy is not None]
    _say_whether_they_learnt(compared)
    _say_the_price(compared)
    rows = sorted((each.row for each in compared), key=_place)
    return pd.DataFrame(rows, columns=list(PRIVACY_COLUMNS))


def epsilon_by_round(runs: Iterable[Run]) -> pd.DataFrame:
    """Epsilon after each round of the first seed of every private federation: the most of any site.

    It never falls: who does not take part keeps what was spent.
    """
    import pandas as pd

    private = [cell for cell in cells(runs) if cell.runs and cell.config.privacy is not None]
    rows = [row for cell in private for row in _rounds(cell)]
    return pd.DataFrame(rows, columns=list(ROUND_COLUMNS))


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    epsilon = row["epsilon"]
    # Noise alone, without a budget, has none to be sorted by.
    size = row["sites"], row["n_train"]
    return ([*UNITS].index(row["unit"]), *size, row["method"], epsilon != epsilon, epsilon)


def _told(config: RunConfig, privacy: PrivacyConfig) -> dict[str, Any]:
    """What is promised to whom."""
    return {
        "unit": privacy.unit,
        "adjacency": _adjacency(config, privacy),
        "delta": privacy.delta,
        "accountant": privacy.accountant,
        "noise": "simulated",
    }


def _adjacency(config: RunConfig, privacy: PrivacyConfig) -> str:
    """In what two federations differ that cannot be told apart."""
    if privacy.unit == "site" and config.sampling == "fixed":
        return "one site, its update replaced by zeros"
    return f"{UNITS[privacy.unit]}, add or remove"


def _compared(cell: Cell, found: Sequence[Cell]) -> _Compared:
    config, facts, own = cell.config, facts_of(cell), mean_of(cell, "correct")
    assert config.privacy is not None
    assert own is not None
    opened = _without_privacy(cell, found)
    names = ("task", "task_title", "backbone", "method", "partition", "sites", "sites_trained")
    row = {
        **{name: facts[name] for name in (*names, "n_train", "rule", "synthetic")},
        **_told(config, config.privacy),
        "epsilon": float("nan") if config.privacy.epsilon is None else config.privacy.epsilon,
        "epsilon_spent": max(_spent(run)[-1] for run in cell.runs),
        "clip": config.privacy.clip,
        "rounds": config.rounds,
        "passes": config.passes,  # as asked for: sites with private examples do not count them
        "learning_rate": config.learning_rate,
        **score_row(cell, ACCURACY, own),
        "runs": " ".join(run.id for each in (cell, opened) if each for run in each.runs),
    }
    above = _above(cell, found)
    row |= {name: own.mean - gain.mean for name, gain in above.items()}
    other = mean_of(opened, "correct") if opened else None
    if opened is None or other is None:
        return _Compared(row, above, {}, None)
    at = stats.interval(other)
    row |= {"open": at.mean, "open_low": max(0.0, at.low), "open_high": min(1.0, at.high)}
    return _Compared(row, above, _above(opened, found), stats.minus(own, other))


def _without_privacy(cell: Cell, found: Sequence[Cell]) -> Cell | None:
    """The same cell without privacy; none if it was not run."""
    same = cell.config.model_copy(update={"privacy": None, "seed": 0})
    return next((c for c in found if c.config.model_copy(update={"seed": 0}) == same), None)


def _above(cell: Cell, found: Sequence[Cell]) -> dict[str, stats.Estimate]:
    """What a cell has more than the untuned backbone, and than the majority answer of training."""
    base = counterpart(cell, found, "base")
    others = {"base": mean_of(base, "correct") if base else None,
              "majority": mean_of(cell, "majority")}  # fmt: skip
    own = mean_of(cell, "correct")
    gains = {n: stats.minus(own, other) for n, other in others.items() if own and other}
    return {name: gain for name, gain in gains.items() if gain is not None}


def _say_whether_they_learnt(compared: Sequence[_Compared]) -> None:
    """Verdicts on private and on open runs; those of the open ones that rows share count once."""
    tests: dict[tuple[str, str], stats.Estimate] = {}
    for each in compared:
        ids = str(each.row["runs"]), _open_key(each)
        for key, gains in zip(ids, (each.above, each.open_above), strict=True):
            tests |= {(key, name): gain for name, gain in gains.items()}
    adjusted = stats.holm([stats.p_above(gain) for gain in tests.values()])
    p = dict(zip(tests, adjusted, strict=True))
    for each in compared:
        own, key = str(each.row["runs"]), _open_key(each)
        each.row.update({f"p_{name}": p[own, name] for name in each.above})
        each.row["verdict"] = _verdict(each.above, {n: p[own, n] for n in each.above})
        shown = _verdict(each.open_above, {n: p[key, n] for n in each.open_above})
        each.row["open_verdict"] = shown if "open" in each.row else NOT_RUN


def _open_key(each: _Compared) -> str:
    return " ".join(str(each.row["runs"]).split()[each.row["n_seeds"] :])


def _verdict(gains: Mapping[str, stats.Estimate], p: Mapping[str, float]) -> str:
    """In words: what it is shown to be above, by p-value and interval alike."""
    shown = [n for n in gains if p[n] < SIGNIFICANT and stats.interval(gains[n]).low > 0]
    missing = [name for name in REFERENCES if name not in gains]
    told = f"above {' and '.join(shown)}" if shown else NOTHING_LEARNT
    return f"{told}; {', '.join(missing)} {NOT_RUN}" if missing else told


def _say_the_price(compared: Sequence[_Compared]) -> None:
    """What each row has more or less than its open runs, adjusted over the table."""
    priced = [(each.row, each.price) for each in compared if each.price is not None]
    adjusted = stats.holm([stats.p_differs(price) for _, price in priced])
    for each in compared:
        each.row.update(beside_open=NOT_RUN, smallest_difference=float("nan"))
    for (row, price), p in zip(priced, adjusted, strict=True):
        found = stats.interval(price)
        side = "above" if found.mean > 0 else "below"
        row.update(
            gain=found.mean,
            gain_low=found.low,
            gain_high=found.high,
            gain_kind=found.kind,
            p_open=p,
            smallest_difference=min(1.0, stats.smallest_difference(found, len(priced))),
            beside_open=f"{side} open" if p < SIGNIFICANT else "no difference to open shown",
        )


def _rounds(cell: Cell) -> list[dict[str, Any]]:
    config, facts, run = cell.config, facts_of(cell), cell.runs[0]
    assert config.privacy is not None
    names = [*("task", "task_title", "backbone", "method", "partition"),
             *("sites_trained", "n_train", "synthetic")]  # fmt: skip
    about = {
        **{name: facts[name] for name in names},
        **_told(config, config.privacy),
        "budget": float("nan") if config.privacy.epsilon is None else config.privacy.epsilon,
        "seed": run.config.seed,
        "runs": run.id,
    }
    spent = zip(run.rounds, _spent(run), strict=True)
    return [about | {"round": record["round"] + 1, "epsilon": value} for record, value in spent]


def _spent(run: Run) -> list[float]:
    """The greatest epsilon of any site, or of any site's example, until the end of each round."""
    greatest, found = 0.0, []
    for record in run.rounds:
        greatest = max([greatest, *(record.get("epsilon") or {}).values()])
        found.append(greatest)
    return found


def say_privacy(frame: pd.DataFrame) -> str:
    """For each unit, partition and method: from which epsilon on it is shown to have learnt."""
    keys = ["task_title", "unit", "adjacency", "partition", "n_train", "method"]
    lines = [_said(part) for _, part in frame.groupby(keys, sort=False)]
    return "\n".join(lines) or f"Private federations: {NOT_RUN}."


def _said(part: pd.DataFrame) -> str:
    rows = part.sort_values("epsilon").to_dict("records")
    first = rows[0]
    about = (
        f"- {first['adjacency']}; {first['partition']}, {first['n_train']:,.0f} examples, "
        f"{first['method']}: "
    )
    without = f"without privacy {_percent(first['open'])}, {first['open_verdict']}"
    told = [f"epsilon {row['epsilon_spent']:.4g}: {_percent(row['mean'])}, {row['verdict']}"
            for row in rows]  # fmt: skip
    if all(row["verdict"] == NOTHING_LEARNT for row in rows):
        spent = [f"{row['epsilon_spent']:.4g}" for row in (rows[0], rows[-1])]
        scores = [_percent(edge(part["mean"])) for edge in (min, max)]
        told = [
            "no private run is shown to have learnt anything, at epsilon "
            f"{' to '.join(dict.fromkeys(spent))} ({' to '.join(dict.fromkeys(scores))})"
        ]
    return f"{about}{'; '.join([without, *told])}."


def _percent(value: float) -> str:
    return NOT_RUN if value != value else f"{100 * value:.1f} %"
