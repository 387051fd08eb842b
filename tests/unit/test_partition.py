"""Kinds of partition, and what each refuses."""

from __future__ import annotations

from collections import Counter

import pytest

from fedbench.config import PartitionConfig
from fedbench.errors import FedbenchError
from fedbench.partition import make_partition
from fedbench.tasks.task import SPLITS, Example, Split
from tests.compositions import composition


def example(number: int, split: Split = "train", topic: str = "a", owner: str = "") -> Example:
    return Example(
        id=f"{split}-{topic}-{number:04d}",
        split=split,
        prompt="p",
        blind_prompt="b",
        choices=(" x", " y"),
        gold=0,
        label="x",
        group=f"{split}-{topic}-{number}",
        cluster="c",
        topic=topic,
        attribute=owner,
    )


def many(per_topic: int = 200, owners: tuple[str, ...] = ("",)) -> list[Example]:
    return [
        example(n, split, topic, owners[n % len(owners)])
        for split in SPLITS
        for topic in "abcd"
        for n in range(per_topic)
    ]


def test_a_seed_names_one_partition() -> None:
    config = PartitionConfig(kind="dirichlet", sites=4, alpha=0.3)
    first = make_partition(many(), config, 1)
    assert first.digest == make_partition(many(), config, 1).digest
    assert first.digest != make_partition(many(), config, 2).digest
    assert first.label == "dirichlet-0.3"


def test_the_digest_is_the_same_on_every_machine() -> None:
    config = PartitionConfig(kind="dirichlet", sites=3, alpha=0.5)
    digest = make_partition(many(20), config, 0).digest
    assert digest == "c1f847fd342faad602acdff19b7426b69adb6a327601eda3cc767ffd3921846f"


def test_dirichlet_shares_hold_for_every_split() -> None:
    config = PartitionConfig(kind="dirichlet", sites=4, alpha=0.3)
    cells = composition(make_partition(many(), config, 3), many())
    by_cell: dict[tuple[str, str], list[int]] = {}
    for cell in cells:
        by_cell.setdefault((cell.site, cell.topic), []).append(cell.examples)
    assert all(max(counts) - min(counts) <= 1 for counts in by_cell.values())
    assert max(max(counts) for counts in by_cell.values()) > 100  # skewed


def test_a_small_alpha_is_more_skewed_than_a_large_one() -> None:
    def largest(alpha: float) -> int:
        config = PartitionConfig(kind="quantity", sites=8, alpha=alpha)
        partition = make_partition(many(), config, 0)
        return max(len(held["train"]) for held in partition.sites.values())

    assert largest(0.1) > largest(1000)
    assert largest(1000) < 130  # of 800 examples on 8 sites


def test_quantity_skews_size_and_not_topics() -> None:
    config = PartitionConfig(kind="quantity", sites=4, alpha=0.5)
    cells = composition(make_partition(many(), config, 0), many())
    for site in {cell.site for cell in cells}:
        counts = [cell.examples for cell in cells if cell.site == site]
        assert max(counts) - min(counts) <= 1


def test_natural_keeps_an_owner_at_one_site_when_there_are_enough() -> None:
    examples = many(owners=("u", "v", "w", "x", "y"))
    partition = make_partition(examples, PartitionConfig(kind="natural", sites=3), 0)
    owner = {e.id: e.attribute for e in examples}
    sites = {(owner[i], s) for s, held in partition.sites.items() for i in held["train"]}
    assert Counter(name for name, _ in sites) == dict.fromkeys("uvwxy", 1)
    assert all(held["train"] for held in partition.sites.values())


def test_natural_cuts_the_largest_owner_when_there_are_too_few() -> None:
    examples = many(owners=("u", "u", "v"))
    partition = make_partition(examples, PartitionConfig(kind="natural", sites=3), 0)
    owner = {e.id: e.attribute for e in examples}
    held = [{owner[i] for i in by["train"]} for by in partition.sites.values()]
    assert sorted(map(sorted, held)) == [["u"], ["u"], ["v"]]


def test_natural_is_refused_without_owners() -> None:
    with pytest.raises(FedbenchError, match="no natural owner"):
        make_partition(many(), PartitionConfig(kind="natural", sites=3), 0)


def test_small_sites_are_reported_and_not_trained() -> None:
    examples = [example(n) for n in range(5)]
    partition = make_partition(examples, PartitionConfig(kind="iid", sites=4, minimum=2), 0)
    assert len(partition.too_small) == 3
    assert len(partition.trained) == 1
    assert len(partition.sites) == 4


def test_more_than_a_hundred_sites_sort_in_order() -> None:
    partition = make_partition(many(50), PartitionConfig(kind="iid", sites=120), 0)
    assert list(partition.sites)[:2] == ["site-000", "site-001"]
    assert list(partition.sites) == sorted(partition.sites)
