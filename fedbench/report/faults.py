"""Sites that fail in a round: what was lost, by kind and policy, and what that does to accuracy.

A federation whose sites fail is compared with the same one whose sites do not: same seeds, same
deal of examples, same test items. What happened is read from the records of its rounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fedbench.cohorts import expected_size
from fedbench.config import RunConfig
from fedbench.faults import FAULTS, NONE, faults_of
from fedbench.faults.fault import UNHARMED, as_sent
from fedbench.policy import PolicyConfig
from fedbench.report.cells import Cell, cells
from fedbench.report.paired import accuracy, change
from fedbench.report.tables import NOT_RUN
from fedbench.store import Run
from fedbench.streams import generator

if TYPE_CHECKING:
    import pandas as pd

KINDS = tuple(FAULTS)  #: a column each: how often it befell an attempt, per run
FAULT_COLUMNS = (
    *("task", "task_title", "backbone", "method", "partition", "rule", "sites", "rounds"),
    *("faults", "policy", "minimum", "deadline", "retries", "chance"),
    *("site_rounds", *KINDS, "asked_again", "lost", "share_lost", "abandoned", "waited"),
    *("passes", "mean", "ci_low", "ci_high", "ci_kind"),
    *("sound", "change", "change_low", "change_high", "change_kind", "verdict"),
    *("n_seeds", "n_seeds_planned", "seeds", "n_test", "synthetic", "runs"),
)
NOBODY = "nobody fails"  #: the verdict where there is nothing to compare
_SOUND = {"faults": NONE, "policy": PolicyConfig(), "seed": 0}


def faults(runs: Iterable[Run], planned: Iterable[RunConfig] = ()) -> pd.DataFrame:
    """A row per partition, rule, policy and plan of faults, nobody failing first, in fractions.

    ``chance`` is the probability with which the plan loses one attempt of a site to answer. Counts
    are means over runs: ``site_rounds`` that a site was drawn for, faults by kind, ``asked_again``
    how often, ``lost`` site-rounds that did not count in the end, ``abandoned`` rounds, simulated
    seconds ``waited``. ``passes`` over the examples are those whose updates were accepted.
    ``change`` is accuracy less that of the same federation in which nobody fails (``sound``),
    paired over seeds and items, its interval not adjusted for the number of rows. What is
    ``planned`` and has no run is there, and says so.
    """
    import pandas as pd

    found = [cell for cell in cells(runs, planned) if cell.config.setting == "federated"]
    rows = [_row(cell, _sound(cell, found)) for cell in sorted(found, key=_place)]
    return pd.DataFrame(rows, columns=list(FAULT_COLUMNS))


def chance_of_loss(config: RunConfig) -> float:
    """How likely a plan is to lose one attempt of a site to answer, within the deadline."""
    kept = 1.0
    for fault in faults_of(config.faults).values():
        struck = fault.strikes(UNHARMED, generator("chance"))
        slow = config.policy.deadline is not None and struck.seconds > config.policy.deadline
        if struck.lost or slow or not struck.speaks or struck.arrives is not as_sent:
            kept *= 1 - fault.rate
    return 1 - kept


def called(policy: PolicyConfig) -> str:
    """A policy as figures and sentences name it."""
    again = f"asked again up to {policy.retries} times" if policy.retries else "left out"
    return again if policy.minimum == 1 else f"{again}, at least {policy.minimum}"


def _place(cell: Cell) -> tuple[Any, ...]:
    config = cell.config
    about = (config.task, config.backbone, config.method, cell.partition, cell.rule)
    policy = (config.policy.minimum, config.policy.retries, config.policy.deadline or 0.0)
    return (*about, config.faults != NONE, *policy, chance_of_loss(config), config.faults)


def _sound(cell: Cell, found: Sequence[Cell]) -> Cell | None:
    """The cell that differs in nothing but that nobody fails."""
    usual = cell.config.model_copy(update=_SOUND)
    return next((c for c in found if c.config.model_copy(update={"seed": 0}) == usual), None)


def _row(cell: Cell, sound: Cell | None) -> dict[str, Any]:
    if not cell.runs:
        return {**_asked(cell), "n_seeds": 0, "verdict": NOT_RUN}
    metrics = cell.runs[0].metrics
    told = [_happened(run) for run in cell.runs]
    counts = {name: float(np.mean([one[name] for one in told])) for name in told[0]}
    return {
        **_asked(cell),
        **counts,
        "share_lost": counts["lost"] / counts["site_rounds"],
        "passes": cell.passes,
        **accuracy(cell),
        **_change(cell, sound),
        "task_title": metrics["task_title"],
        "n_seeds": len(cell.runs),
        "seeds": " ".join(map(str, cell.seeds)),
        "synthetic": bool(metrics["synthetic"]),
        "runs": " ".join(run.id for c in (cell, sound) if c for run in c.runs),
    }


def _asked(cell: Cell) -> dict[str, Any]:
    """What is known of a cell without running it."""
    config = cell.config
    names = ("task", "backbone", "method", "rounds", "faults")
    return {
        **{name: getattr(config, name) for name in names},
        **dict(config.policy),
        "policy": NOBODY if config.faults == NONE else called(config.policy),
        "chance": chance_of_loss(config),
        "task_title": config.task,
        "partition": cell.partition,
        "rule": cell.rule,
        "sites": config.partition.sites,
        "n_seeds_planned": cell.planned,
    }


def _happened(run: Run) -> dict[str, float]:
    """What the rounds of a run say of faults, added up."""
    trained = [site for site in run.sites if site.get("trained", True)]
    records = [each for each in run.rounds if each["round"] < run.config.rounds]
    drawn = expected_size(run.config, trained) * len(records)
    kinds = Counter(
        kind
        for record in records
        for attempts in (record.get("faults") or {}).values()
        for attempt in attempts
        for kind in attempt.split("+")
    )
    again = (record.get("asked_again") or {} for record in records)
    return {
        "site_rounds": drawn,
        **{kind: kinds[kind] for kind in KINDS},
        "asked_again": sum(len(whys) for of_round in again for whys in of_round.values()),
        "lost": drawn - sum(len(record["cohort"]) for record in records),
        "abandoned": sum(bool(record.get("abandoned")) for record in records),
        "waited": sum(record.get("waited") or 0.0 for record in records),
    }


def _change(cell: Cell, sound: Cell | None) -> dict[str, Any]:
    """What faults do to accuracy, paired with the same federation in which nobody fails."""
    if cell.config.faults == NONE:
        return {"verdict": NOBODY}
    return change(cell, sound, "sound") or {"verdict": f"{NOBODY}: {NOT_RUN}"}


def say_faults(frame: pd.DataFrame) -> str:
    """A sentence per policy and plan of faults: what was lost, and what that did to accuracy."""
    rows = frame[frame["faults"] != NONE].to_dict("records")
    return "\n".join(map(_said, rows)) or f"Faults: {NOT_RUN}."


def _said(row: Mapping[Any, Any]) -> str:
    about = f"- **{100 * row['chance']:.0f} % of attempts lost by plan**, {row['policy']}"
    if not row["n_seeds"]:
        return f"{about}: {NOT_RUN}."
    lost = f"{row['lost']:.1f} of {row['site_rounds']:.0f} site-rounds did not count"
    asked = f", after {row['asked_again']:.1f} further requests" if row["retries"] else ""
    if row["change"] != row["change"]:
        return f"{about}: {lost}{asked}."
    between = f"{100 * row['change_low']:+.1f} to {100 * row['change_high']:+.1f}"
    change = f"accuracy {100 * row['change']:+.1f} points ({between})"
    return f"{about}: {lost}{asked}; {change}: {row['verdict']}."
