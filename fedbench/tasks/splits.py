"""One copy of every item, and the split it belongs to."""

from __future__ import annotations

from collections.abc import Sequence

from fedbench.hashing import sha256_text
from fedbench.tasks.examples import Draft
from fedbench.tasks.spec import TaskSpec
from fedbench.tasks.task import Split

PRIORITY: tuple[Split, ...] = ("test", "validation", "train")  #: who keeps a shared group


def one_of_each(items: Sequence[Draft]) -> tuple[list[Draft], dict[str, int]]:
    """One of each; items whose copies disagree about the answer are dropped altogether."""
    answers: dict[str, set[int]] = {}
    for item in items:
        answers.setdefault(item.id, set()).add(item.gold)
    agreed = [item for item in items if len(answers[item.id]) == 1]
    first: dict[str, Draft] = {}
    for item in sorted(agreed, key=lambda item: PRIORITY.index(_as_split(item))):
        first.setdefault(item.id, item)
    owners: dict[str, set[str]] = {}
    for item in items:
        owners.setdefault(item.id, set()).add(item.attribute)
    counts = {
        "distinct": len(answers),
        "shared_between_owners": sum(len(names) > 1 for names in owners.values()),
        "removed_duplicates": len(agreed) - len(first),
        "dropped_conflicts": len(answers) - len(first),
        "dropped_conflict_rows": len(items) - len(agreed),
    }
    return [first[key] for key in sorted(first)], counts


def _as_split(item: Draft) -> Split:
    return "train" if item.role == "all" else item.role


def split(spec: TaskSpec, items: Sequence[Draft]) -> list[tuple[Split, Draft]]:
    """Every item with its split; a group that two splits would share stays in one."""
    carve = not any(item.role == "validation" for item in items)
    placed = [(_place(spec, item, carve), item) for item in items]
    owner: dict[str, Split] = {}
    for part, item in placed:
        owner[item.group] = min(owner.get(item.group, part), part, key=PRIORITY.index)
    return [(part, item) for part, item in placed if owner[item.group] == part]


def _place(spec: TaskSpec, item: Draft, carve: bool) -> Split:
    """The split of an item: the one it was given, or drawn by the hash of its group."""
    draw = int(sha256_text(f"split:{item.group}")[:12], 16) / 16**12
    if item.role == "all":
        shares = spec.fractions
        if draw < shares.test:
            return "test"
        return "validation" if draw < shares.test + shares.validation else "train"
    if item.role == "train" and carve and draw < spec.validation:
        return "validation"
    return item.role


def split_name(spec: TaskSpec, items: Sequence[Draft]) -> str:
    """What the split is called where the source does not say."""
    own = any(item.role == "all" for item in items)
    return spec.fractions.label if own else "given"
