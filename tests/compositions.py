"""Who holds how much of what, counted independently of the package."""

from __future__ import annotations

from typing import NamedTuple

from fedbench.partition import Partition
from fedbench.tasks import SPLITS, Example, Split


class Cell(NamedTuple):
    """One site, split and topic."""

    site: str
    split: Split
    topic: str
    examples: int


def composition(partition: Partition, examples: list[Example]) -> list[Cell]:
    """How many examples of each topic every site holds in every split, zeros included."""
    topic = {one.id: one.topic for one in examples}
    return [
        Cell(site, split, name, sum(topic[i] == name for i in held[split]))
        for site, held in partition.sites.items()
        for split in SPLITS
        for name in sorted(set(topic.values()))
    ]
