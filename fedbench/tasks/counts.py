"""What a task's splits hold and share, counted on the examples themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from fedbench.tasks.task import SPLITS, Example


def counted(examples: Sequence[Example]) -> dict[str, object]:
    """Sizes, groups and labels of the splits, and the groups that two of them share."""
    groups = {s: {e.group for e in examples if e.split == s} for s in SPLITS}
    seen = groups["train"] | groups["validation"]
    labels = {s: Counter(e.label for e in examples if e.split == s) for s in SPLITS}
    return {
        "train_test_overlap_groups": len(seen & groups["test"]),
        "train_validation_overlap_groups": len(groups["train"] & groups["validation"]),
        "splits": {name: counter.total() for name, counter in labels.items()},
        "groups": {name: len(groups[name]) for name in SPLITS},
        "labels": {name: dict(sorted(counter.items())) for name, counter in labels.items()},
    }


def asked_otherwise(examples: Iterable[Example]) -> int:
    """Test prompts that do not end with the line that all training prompts end with.

    None where training prompts end with lines of their own: then there is nothing to compare with.
    """
    lines: dict[str, list[str]] = {split: [] for split in SPLITS}
    for example in examples:
        lines[example.split].append(example.prompt.rpartition("\n")[2])
    known = {*lines["train"]}
    return sum(line not in known for line in lines["test"]) if len(known) == 1 else 0
