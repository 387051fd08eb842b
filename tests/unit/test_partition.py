"""Kinds of partition, and what each refuses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from fedbench.config import PartitionConfig
from fedbench.errors import FedbenchError
from fedbench.partition import make_partition, pace
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


def test_label_skews_answers_and_not_topics() -> None:
    examples = [
        replace(e, gold=n % 2, label="xy"[n % 2], topic="abcd"[n // 2 % 4])
        for n, e in enumerate(many())
    ]
    partition = make_partition(examples, PartitionConfig(kind="label", sites=4, alpha=0.2), 1)
    of = {e.id: e for e in examples}
    held = [[of[i] for i in by["train"]] for by in partition.sites.values() if by["train"]]
    shares = [sum(e.label == "x" for e in mine) / len(mine) for mine in held]
    assert max(shares) > 0.8
    assert min(shares) < 0.1
    for mine in (mine for mine in held if len(mine) > 100):
        topics = Counter(e.topic for e in mine)
        assert max(topics.values()) < 2 * min(topics[topic] for topic in "abcd")


def test_answers_are_shared_alike_in_every_split() -> None:
    examples = [replace(e, label="xy"[n % 2]) for n, e in enumerate(many())]
    partition = make_partition(examples, PartitionConfig(kind="label", sites=4, alpha=0.2), 1)
    of = {e.id: e.label for e in examples}
    for by in partition.sites.values():
        for label in "xy":
            counts = [sum(of[i] == label for i in by[split]) for split in SPLITS]
            assert max(counts) - min(counts) <= 1


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


def test_leaving_a_site_out_changes_who_takes_part_and_not_who_holds_what() -> None:
    values = {"kind": "dirichlet", "sites": 4, "alpha": 0.3}
    every = make_partition(many(), PartitionConfig.model_validate(values), 0)
    fewer = make_partition(many(), PartitionConfig.model_validate({**values, "without": 1}), 0)
    assert fewer.sites == every.sites
    assert fewer.too_small == every.too_small
    assert every.trained == ("site-00", "site-01", "site-02", "site-03")
    assert fewer.trained == ("site-00", "site-02", "site-03")
    assert fewer.digest != every.digest
    assert every.to_json().keys() == fewer.to_json().keys()


def test_natural_is_refused_without_owners() -> None:
    with pytest.raises(FedbenchError, match="no natural owner"):
        make_partition(many(), PartitionConfig(kind="natural", sites=3), 0)


def test_small_sites_are_reported_and_not_trained() -> None:
    examples = [example(n) for n in range(5)]
    partition = make_partition(examples, PartitionConfig(kind="iid", sites=4, minimum=2), 0)
    assert len(partition.too_small) == 3
    assert len(partition.trained) == 1
    assert len(partition.sites) == 4


@pytest.mark.parametrize(("sites", "slowest"), [(2, 0.5), (5, 0.2), (8, 1.0), (1, 0.3)])
def test_sites_are_evenly_spaced_in_speed_about_a_mean_of_one(sites: int, slowest: float) -> None:
    speeds = [pace(number, sites, slowest) for number in range(sites)]
    assert sum(speeds) / sites == pytest.approx(1)
    assert speeds[-1] == pytest.approx(speeds[0] * (slowest if sites > 1 else 1))
    steps = [a - b for a, b in pairwise(speeds)]
    assert steps == pytest.approx([(speeds[0] - speeds[-1]) / max(1, sites - 1)] * len(steps))


def test_sites_that_are_equally_fast_do_their_passes_to_the_bit() -> None:
    assert {pace(number, 7, 1.0) for number in range(7)} == {1.0}


def test_more_than_a_hundred_sites_sort_in_order() -> None:
    partition = make_partition(many(50), PartitionConfig(kind="iid", sites=120), 0)
    assert list(partition.sites)[:2] == ["site-000", "site-001"]
    assert list(partition.sites) == sorted(partition.sites)
