"""Hostile sites: what each attack costs under each rule, and how often it got what it was after.

A federation under attack is compared with that of the same rule in which nobody is hostile: same
seeds, same deal of examples, same test items. Success is counted on the test items for which the
attacker's answer is wrong (:mod:`fedbench.success`). How often honest sites' model gives that very
answer stands beside it, because some of what an attacker wants is said anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedbench.attacks import NONE, attack_of
from fedbench.attacks.attack import Goal
from fedbench.columns import Columns
from fedbench.config import RunConfig
from fedbench.profiles import FEDAVG
from fedbench.report import stats
from fedbench.report.cells import Cell, cells
from fedbench.report.paired import GAINS, LOSES, NOTHING_SHOWN, accuracy, change
from fedbench.report.scores import mean_of
from fedbench.report.tables import NOT_RUN
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

ATTACK_COLUMNS = (
    *("task", "task_title", "backbone", "method", "partition", "sites", "rounds"),
    *("attack", "hostile", "hostile_sites", "hostile_examples", "rule"),
    *("mean", "ci_low", "ci_high", "ci_kind", "majority"),
    *("honest", "change", "change_low", "change_high", "change_kind", "verdict"),
    *("success", "success_low", "success_high", "success_kind"),
    *("success_without_trigger", "success_of_honest", "n_success"),
    *("refused", "n_seeds", "n_seeds_planned", "seeds", "n_test", "synthetic", "runs"),
)
OVER_CLUSTERS = "Wilson over item clusters"
NOBODY = "nobody hostile"  #: the verdict where there is nothing to compare
NOTHING_TO_LOSE = "had nothing to lose"  #: with nobody hostile not shown to beat the majority
_VERDICTS = (LOSES, NOTHING_SHOWN, GAINS, NOTHING_TO_LOSE)  #: as sentences tell them
_ALIKE = ("task", "backbone", "method", "partition")


def attacks(runs: Iterable[Run], planned: Iterable[RunConfig] = ()) -> pd.DataFrame:
    """A row per partition, attack, share of hostile sites and rule, in fractions, FedAvg first.

    ``change`` is accuracy less that of the same rule with nobody hostile (``honest``), paired over
    seeds and items; its interval is not adjusted for the number of rows. A rule that is not shown
    to beat the training majority with nobody hostile had nothing to lose, and no change tells
    whether it withstands anything.

    ``success`` is the share of the ``n_success`` items that are answered as the attacker wants,
    asked with the trigger where there is one; its interval takes the items of a cluster for one
    (one run) or is over seeds (more). ``success_without_trigger`` is the same of questions without
    it, and ``success_of_honest`` that of the federation with nobody hostile, asked without it.
    ``hostile_sites`` and ``refused`` (updates that the server did not accept) are means over runs,
    ``hostile_examples`` is the share of training examples that hostile sites hold. What is
    ``planned`` and has no run is there, and says so.
    """
    import pandas as pd

    found = [
        cell
        for cell in cells(runs, planned)
        if cell.config.setting == "federated" and cell.config.partition.without is None
    ]
    rows = [_row(cell, _honest(cell, found)) for cell in sorted(found, key=_place)]
    return pd.DataFrame(rows, columns=list(ATTACK_COLUMNS))


def _place(cell: Cell) -> tuple[Any, ...]:
    """By partition in the order of all tables; then attacks, nobody hostile first; then rules."""
    config = cell.config
    partition = (config.partition.kind != "iid", cell.partition)
    attack = (config.attack != NONE, *_kind(config.attack), config.hostile)
    return (config.task, config.backbone, config.method, *partition, *attack, *_rule(cell.rule))


def _kind(attack: str) -> tuple[bool, bool, str]:
    """Attacks on accuracy first, then those that are after certain answers, the plainest first."""
    goal = attack_of(attack).goal
    name = attack.partition(":")[0]
    return goal is not None, goal is not None and goal.triggered, name


def _rule(rule: str) -> tuple[bool, str]:
    return rule != FEDAVG, rule


def _honest(cell: Cell, found: Sequence[Cell]) -> Cell | None:
    """The cell that differs in nothing but that nobody is hostile."""
    usual = cell.config.model_copy(update={"attack": NONE, "hostile": 0.0, "seed": 0})
    return next((c for c in found if c.config.model_copy(update={"seed": 0}) == usual), None)


def _row(cell: Cell, honest: Cell | None) -> dict[str, Any]:
    if not cell.runs:
        return {**_asked(cell), "n_seeds": 0, "verdict": NOT_RUN}
    metrics = cell.runs[0].metrics
    return {
        **_asked(cell),
        **_hostile(cell.runs),
        **_accuracy(cell),
        **_change(cell, honest),
        **_success(cell, honest),
        "task_title": metrics["task_title"],
        "refused": _refused(cell.runs),
        "n_seeds": len(cell.runs),
        "seeds": " ".join(map(str, cell.seeds)),
        "synthetic": bool(metrics["synthetic"]),
        "runs": " ".join(run.id for c in (cell, honest) if c for run in c.runs),
    }


def _asked(cell: Cell) -> dict[str, Any]:
    """What is known of a cell without running it."""
    config = cell.config
    names = ("task", "backbone", "method", "rounds", "attack", "hostile")
    return {
        **{name: getattr(config, name) for name in names},
        "task_title": config.task,
        "partition": cell.partition,
        "sites": config.partition.sites,
        "rule": cell.rule,
        "n_seeds_planned": cell.planned,
    }


def _hostile(runs: Sequence[Run]) -> dict[str, float]:
    """Who was hostile, and of how many training examples, mean over runs."""
    named = [set(run.metrics.get("attack", {}).get("hostile", ())) for run in runs]
    shares = []
    for run, names in zip(runs, named, strict=True):
        held = {site["site"]: site["n_train"] for site in run.sites if site.get("trained", True)}
        shares.append(sum(held[name] for name in names) / sum(held.values()))
    return {
        "hostile_sites": float(np.mean([len(names) for names in named])),
        "hostile_examples": float(np.mean(shares)),
    }


def _accuracy(cell: Cell) -> dict[str, Any]:
    majority = [table.numbers["majority"].mean() for table in cell.tables]
    found = accuracy(cell)
    return found and {**found, "majority": float(np.mean(majority))}


def _change(cell: Cell, honest: Cell | None) -> dict[str, Any]:
    """What the attack does to accuracy, paired with the same rule and nobody hostile."""
    if cell.config.attack == NONE:
        return {"verdict": NOBODY}
    found = change(cell, honest, "honest")
    if not found or honest is None:
        return {"verdict": f"without an attack: {NOT_RUN}"}
    return found if _skilled(honest) else {**found, "verdict": NOTHING_TO_LOSE}


def _skilled(cell: Cell) -> bool:
    """Whether a cell is shown to beat the answer that is commonest in training."""
    score, blind = mean_of(cell, "correct"), mean_of(cell, "majority")
    above = stats.minus(score, blind) if score and blind else None
    return above is not None and stats.interval(above).low > 0


def _success(cell: Cell, honest: Cell | None) -> dict[str, Any]:
    """How often the attacker was answered as it wants; nothing where it wants no answer."""
    told = [run.metrics.get("attack", {}) for run in cell.runs]
    shares = [each["success"] for each in told if each.get("success") is not None]
    if len(shares) < len(told):
        return {}
    values, count = np.array(shares), round(float(np.mean([each["n"] for each in told])))
    one = len(values) == 1
    found = stats.wilson(float(values[0]), _apart(cell)) if one else stats.seed_interval(values)
    plain = [each.get("success_without_trigger", np.nan) for each in told]
    return {
        "success": found.mean,
        "success_low": max(0.0, found.low),
        "success_high": min(1.0, found.high),
        "success_kind": OVER_CLUSTERS if one else found.kind,
        "success_without_trigger": float(np.mean(plain)),
        "success_of_honest": said_anyway(cell.config, honest),
        "n_success": count,
    }


def said_anyway(config: RunConfig, honest: Cell | None) -> float:
    """How often a federation of honest sites answers as the attacker of ``config`` wants.

    A share of the items for which that is wrong, asked without a trigger; ``nan`` if it was not
    run.
    """
    goal = attack_of(config.attack).goal
    if goal is None or honest is None or not honest.runs:
        return float("nan")
    shares = []
    for table in honest.tables:
        aims = _aims(goal, table)
        counted = aims != table.numbers["gold"]
        shares.append((table.numbers["prediction"] == aims)[counted].mean())
    return float(np.mean(shares))


def _aims(goal: Goal, table: Columns) -> NDArray[np.int64]:
    """By row, the choice that the attacker wants."""
    gold, choices = table.numbers["gold"].astype(int), table.numbers["choices"].astype(int)
    pairs = zip(gold.tolist(), choices.tolist(), strict=True)
    return np.array([goal.wanted(*pair) for pair in pairs])


def _apart(cell: Cell) -> int:
    """As how many independent items those count for which the attacker's answer is wrong.

    Kish (1965), *Survey Sampling*, with answers within a cluster all alike, which is
    the worst case: the squared number of items over the sum of squared sizes of clusters. What each
    item was answered with the trigger is not kept, so that the better estimate cannot be had.
    """
    goal, table = attack_of(cell.config.attack).goal, cell.tables[0]
    assert goal is not None
    counted = _aims(goal, table) != table.numbers["gold"]
    sizes = np.bincount(table.names["cluster"].codes[counted])
    return max(1, int(sizes.sum() ** 2 / np.square(sizes).sum()))


def _refused(runs: Sequence[Run]) -> float:
    """Updates that the server did not accept, mean over runs."""
    return float(np.mean([sum(len(r.get("refused", {})) for r in run.rounds) for run in runs]))


def called(attack: str) -> str:
    """An attack as figures and sentences name it: ``backdoor, scaling ×5``."""
    return attack.replace(":factor=", " ×").replace("+", ", ").replace("-", " ")


def say_attacks(frame: pd.DataFrame) -> str:
    """For every attack which rules lose accuracy by it, and how often it got its answers."""
    known = frame[frame["attack"] != NONE]
    groups = known.groupby([*_ALIKE, "attack", "hostile"], sort=False)
    return "\n".join(_said(part.to_dict("records")) for _, part in groups) or f"Attacks: {NOT_RUN}."


def _said(rows: Sequence[Mapping[Any, Any]]) -> str:
    first = rows[0]
    about = f"- **{called(first['attack'])}**, {100 * first['hostile']:.0f} % of sites hostile, "
    by_verdict: dict[str, list[str]] = {}
    for row in rows:
        by_verdict.setdefault(row["verdict"], []).append(_points(row))
    ordered = sorted(by_verdict, key=lambda v: _VERDICTS.index(v) if v in _VERDICTS else 9)
    told = [f"{verdict}: {', '.join(by_verdict[verdict])}" for verdict in ordered]
    wanted = [_wanted(row) for row in rows if row["n_seeds"] and row["success"] == row["success"]]
    got = (
        f". Answered as the attacker wants (and with nobody hostile): {', '.join(wanted)}"
        if wanted
        else ""
    )
    return f"{about}{first['partition']}. Accuracy: {'; '.join(told)}{got}."


def _points(row: Mapping[Any, Any]) -> str:
    if not row["n_seeds"] or row["change"] != row["change"]:
        return str(row["rule"])
    return f"{row['rule']} ({100 * row['change']:+.1f} points)"


def _wanted(row: Mapping[Any, Any]) -> str:
    usual = row["success_of_honest"]
    beside = f"{100 * usual:.0f} %" if usual == usual else NOT_RUN
    return f"{row['rule']} {100 * row['success']:.0f} % ({beside})"
