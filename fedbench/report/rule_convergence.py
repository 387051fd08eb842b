"""How rules converge: validation accuracy by round and by megabytes sent, and where each ends.

Every rule is reported after its last round (ARCHITECTURE.md); what is told here of its best round
is looked up on validation data, to see whether a rule fell afterwards, and selects nothing. The
best of several noisy rounds is biased upward, so that chance alone makes a rule fall a little: how
far is beside the standard error of one accuracy, which is a yardstick and no test.

What sites do alone after the last round is no round, and is left out: curves and ends are those of
the shared adapter, except under rules whose sites have adapters of their own all along.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from fedbench.report.cells import Cell, cells, whole
from fedbench.report.inventory import CONVERGENCE_COLUMNS, rounds_of
from fedbench.report.rule_figures import span
from fedbench.report.rule_table import (
    TARGET,
    beside_fedavg,
    first_at,
    sent_until,
    to_target,
    trained_where,
)
from fedbench.rules import rule_of
from fedbench.store import Run

if TYPE_CHECKING:
    import pandas as pd

RULE_CONVERGENCE_COLUMNS = (
    *("rule", "optimizer", "own_adapters", "megabytes"),
    *CONVERGENCE_COLUMNS,
)
ENDING_COLUMNS = (
    *("task", "task_title", "backbone", "method", "optimizer", "partition", "rule"),
    *("own_adapters", "n_seeds", "rounds", "n_validation", "last", "best", "fall", "greatest_fall"),
    *("standard_error", "fell", "diverged"),
    *("reached", "rounds_to_target", "megabytes_to_target", "synthetic", "runs"),
)
TOGETHER = ("task_title", "partition", "optimizer")  #: what rules that are compared have in common
#: standard errors of one accuracy on the validation items by which a seed must end below its best
_BEYOND = 2.0


def rule_convergence(runs: Iterable[Run]) -> pd.DataFrame:
    """Validation accuracy after each round, a row per partition, rule and round, in fractions.

    ``megabytes`` were sent until then, in training, by all sites and in both directions: mean over
    seeds. With ``own_adapters`` each site is scored with its own in every round. All else is as in
    :func:`~fedbench.report.inventory.convergence`.
    """
    import pandas as pd

    rows = [
        {**row, **_about(cell), "megabytes": sent[row["round"] - 1]}
        for cell in _ruled(runs)
        for sent in [_megabytes(cell)]
        for row in rounds_of(cell)
    ]
    return pd.DataFrame(rows, columns=list(RULE_CONVERGENCE_COLUMNS))


def rule_endings(runs: Iterable[Run]) -> pd.DataFrame:
    """Where each rule ends, a row per partition and rule: means over seeds, in fractions.

    ``fall`` is the last round's validation accuracy less that of the best round of the same seed,
    ``greatest_fall`` that of the seed that fell most. ``fell`` counts seeds that ended lower by
    more than twice ``standard_error``, that of one accuracy on that many items; ``diverged`` those
    whose training loss was not finite, or did not end below that of the first round. Without
    validation items, which are ``n_validation`` of a round, nothing is known of accuracies: NaN.
    ``reached`` counts seeds whose accuracy ever was the target; the rounds and megabytes until then
    are those of :func:`~fedbench.report.rule_table.rule_table`.
    """
    import pandas as pd

    return pd.DataFrame([_ending(cell) for cell in _ruled(runs)], columns=list(ENDING_COLUMNS))


def _ruled(runs: Iterable[Run]) -> Iterator[Cell]:
    """Federated cells by partition, FedAvg first and the other rules by name."""
    found = [cell for cell in whole(cells(runs)) if cell.config.setting == "federated"]
    for group in beside_fedavg([cell for cell in found if cell.runs]):
        yield from group


def _megabytes(cell: Cell) -> list[float]:
    by_seed = [sent_until(run) for run in cell.runs]
    return [sum(sent) / len(sent) / 1e6 for sent in zip(*by_seed, strict=False)]


def _about(cell: Cell) -> dict[str, Any]:
    own = rule_of(cell.config.rule).personal
    return {"rule": cell.rule, "optimizer": cell.config.optimizer, "own_adapters": own}


def _ending(cell: Cell) -> dict[str, Any]:
    config, metrics, curves = cell.config, cell.runs[0].metrics, [*map(_curve, cell.runs)]
    bests = [_extreme(max, curve) for curve in curves]
    falls = [curve[-1] - best for curve, best in zip(curves, bests, strict=True)]
    noise = [_standard_error(run, best) for run, best in zip(cell.runs, bests, strict=True)]
    fell = [-fall > _BEYOND * error for fall, error in zip(falls, noise, strict=True)]
    return {
        **{name: getattr(config, name) for name in ("task", "backbone", "method")},
        **_about(cell),
        "task_title": metrics["task_title"],
        "partition": cell.partition,
        "n_seeds": len(curves),
        "rounds": config.rounds,
        "n_validation": fmean([_shared(run)[-1]["n_validation"] for run in cell.runs]),
        "last": fmean([curve[-1] for curve in curves]),
        "best": fmean(bests),
        "fall": fmean(falls),
        "greatest_fall": _extreme(min, falls),
        "standard_error": fmean(noise),
        "fell": sum(fell),
        "diverged": sum(_diverged(run) for run in cell.runs),
        "reached": sum(first_at(run) is not None for run in cell.runs),
        **to_target(cell),
        "synthetic": bool(metrics["synthetic"]),
        "runs": " ".join(run.id for run in cell.runs),
    }


def _shared(run: Run) -> list[Mapping[str, Any]]:
    """The records of rounds, without that of what sites did alone afterwards."""
    return [record for record in run.rounds if record["round"] < run.config.rounds]


def _curve(run: Run) -> list[float]:
    """Validation accuracy by round, of the sites that hold validation items; NaN if none does."""
    found = [record["validation_accuracy"] for record in _shared(run)]
    return [float("nan") if value is None else float(value) for value in found]


def _extreme(choose: Callable[[list[float]], float], values: Sequence[float]) -> float:
    """The least or greatest of those that are known."""
    known = [value for value in values if value == value]
    return choose(known) if known else float("nan")


def _standard_error(run: Run, share: float) -> float:
    items = _shared(run)[-1]["n_validation"]
    return math.sqrt(share * (1 - share) / items) if items else float("nan")


def _diverged(run: Run) -> bool:
    records = _shared(run)
    first, last = (float(records[place]["train_loss"]) for place in (0, -1))
    return not (math.isfinite(last) and (last < first or len(records) == 1))


def say_rule_convergence(endings: pd.DataFrame) -> str:
    """How soon rules are at the target, with how many seeds, and whether any fell or diverged."""
    lines = []
    for (task, *_), part in endings.groupby(list(TOGETHER), sort=False):
        rows = part.to_dict("records")
        where = trained_where(rows[0])
        reached = "; ".join(_said_of_target(row) for row in rows)
        lines.append(
            f"- {task}, {where}: validation accuracy of {100 * TARGET:.0f} % is reached by "
            f"{reached}. {_said_of_divergence(rows)} {_said_of_falls(rows)}"
        )
    return "\n".join(lines) or "No rule was run."


def _seeds(row: Mapping[Any, Any], name: str) -> str:
    return f"{row[name]} of {row['n_seeds']} seeds"


def _said_of_target(row: Mapping[Any, Any]) -> str:
    seeds = _seeds(row, "reached")
    if row["reached"] < row["n_seeds"]:
        return f"{row['rule']} in {seeds}"
    rounds, sent = row["rounds_to_target"], row["megabytes_to_target"]
    return f"{row['rule']} in {seeds}, after {rounds:g} rounds and {sent:,.0f} MB (medians)"


def _said_of_divergence(rows: Sequence[Mapping[Any, Any]]) -> str:
    found = [f"{row['rule']} ({_seeds(row, 'diverged')})" for row in rows if row["diverged"]]
    told = f"Training loss did not end below that of round 1 with {', '.join(found)}."
    return told if found else "Training loss ended below that of round 1 with every rule and seed."


def _said_of_falls(rows: Sequence[Mapping[Any, Any]]) -> str:
    found = [
        f"{row['rule']} ({_seeds(row, 'fell')}, at most {-100 * row['greatest_fall']:.1f} points)"
        for row in rows
        if row["fell"]
    ]
    if found:
        return f"Below their best round by more than two standard errors ended {', '.join(found)}."
    least = _extreme(min, [row["greatest_fall"] for row in rows])
    if least != least:
        return "Nobody holds validation items."
    return (
        "No seed ended below its best round by more than two standard errors of one accuracy (at "
        f"most {abs(100 * least):.1f} points)."
    )


def rule_endings_caption(endings: pd.DataFrame) -> str:
    """Of the table of :func:`rule_endings`."""
    if endings.empty:
        return "Where rules end: not run."
    return (
        f"Validation accuracy ({span(endings['n_validation'])} items) of the last round and of the "
        f"best one of the same seed, mean over {span(endings['n_seeds'])} seeds. The standard "
        "error of one accuracy on these items is a yardstick, not a test: the best of several "
        "noisy rounds is biased upward. Fell: seeds that ended lower by more than twice that. "
        "Diverged: seeds whose training loss did not end below that of round 1. Reached: seeds "
        f"that ever had the target of {100 * TARGET:.0f} %; rounds and megabytes until then are "
        f"medians, none where a seed never had it. No round is chosen.{own_adapters(endings)}"
    )


def own_adapters(frame: pd.DataFrame) -> str:
    """Whose adapters are scored, as a sentence, where that is not the shared one in all rows."""
    apart = frame["own_adapters"].astype(bool)
    shared = [rule for rule in frame[~apart]["rule"].unique() if "own passes" in rule]
    own = [*frame[apart]["rule"].unique()]
    told = f" {', '.join(own)}: every site is scored with its own adapter, in every round."
    until = f" {', '.join(shared)}: the shared adapter, before sites train on alone."
    return (told if own else "") + (until if shared else "")
