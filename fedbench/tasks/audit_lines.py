"""What is told of each task before anything is trained on it, in one line."""

from __future__ import annotations

from collections.abc import Iterable

from fedbench.errors import FedbenchError
from fedbench.tasks.counts import asked_otherwise
from fedbench.tasks.load import load_task
from fedbench.tasks.specfile import read_spec
from fedbench.tasks.task import Task


def audit_lines(names: Iterable[str]) -> list[str]:
    """One line per task, for whoever is about to run them: what it holds, and what was done to it.

    A task that cannot be loaded, for example for a leak that it does not accept, says so.
    """
    return [f"audit of {name}: {_line(name)}" for name in dict.fromkeys(names)]


def _line(name: str) -> str:
    try:
        task, (spec, _) = load_task(name), read_spec(name)
    except FedbenchError as error:
        return str(error)
    found = task.audit
    done = {"drop": "dropped", "keep": "KEPT in training", "refuse": "found"}[spec.near_repeats]
    return (
        f"{found['rows']:,} rows, {found['distinct']:,} distinct; "
        f"{found['removed_duplicates']:,} copies dropped (in both splits: that in training); "
        f"{found['dropped_conflicts']:,} items with conflicting answers dropped; "
        f"{found['removed_overlap']:,} training items of a group in the test split removed; "
        f"{found['near_repeats']:,} that nearly repeat a test item {done}."
        f"{_not_removed(task)}"
    )


def _not_removed(task: Task) -> str:
    """Faults that no loading leaves in a task; whoever meets them is told in capitals."""
    shared, otherwise = task.audit["train_test_overlap_groups"], asked_otherwise(task.examples)
    told = f" {shared:,} groups of the test split ARE OUTSIDE IT AS WELL." if shared else ""
    return told + (f" {otherwise:,} test items ARE ASKED UNLIKE TRAINING." if otherwise else "")
