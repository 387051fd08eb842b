"""What every partition keeps, whatever the examples, the kind and the seed."""

from __future__ import annotations

import json
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.config import PartitionConfig
from fedbench.partition import make_partition
from fedbench.tasks.task import SPLITS, Example, Split
from tests.compositions import composition


def example(number: int, split: Split, group: int, topic: int) -> Example:
    return Example(
        id=f"e{number:04d}",
        split=split,
        prompt=f"question {number}",
        blind_prompt="question",
        choices=(" yes", " no"),
        gold=number % 2,
        label=("yes", "no")[number % 2],
        group=f"{split}-{group}",
        cluster=f"{group}",
        topic=f"topic-{topic}",
        attribute=f"owner-{topic}",
    )


@st.composite
def datasets(draw: st.DrawFn) -> list[Example]:
    cells = st.tuples(st.sampled_from(SPLITS), st.integers(0, 30), st.integers(0, 4))
    drawn = draw(st.lists(cells, min_size=1, max_size=120))
    return [example(number, *cell) for number, cell in enumerate(drawn)]


@st.composite
def configs(draw: st.DrawFn) -> PartitionConfig:
    kind = draw(st.sampled_from(["iid", "dirichlet", "label", "quantity", "natural"]))
    alpha = draw(st.floats(0.05, 100)) if kind in ("dirichlet", "label", "quantity") else None
    return PartitionConfig(kind=kind, sites=draw(st.integers(1, 12)), alpha=alpha)


@settings(max_examples=150, deadline=None)
@given(datasets(), configs(), st.integers(0, 2**31))
def test_sites_are_disjoint_exhaustive_and_keep_groups_together(
    examples: list[Example], config: PartitionConfig, seed: int
) -> None:
    partition = make_partition(examples, config, seed)
    by_id = {e.id: e for e in examples}
    held = [
        (s, split, i) for s, by in partition.sites.items() for split in SPLITS for i in by[split]
    ]
    assert sorted(i for _, _, i in held) == sorted(by_id)
    assert all(by_id[i].split == split for _, split, i in held)
    owner: dict[str, str] = {}
    for site, _, i in held:
        assert owner.setdefault(by_id[i].group, site) == site
    assert list(partition.sites) == sorted(partition.sites)
    assert len(partition.sites) == config.sites


@settings(max_examples=80, deadline=None)
@given(datasets(), configs(), st.integers(0, 2**31), st.randoms())
def test_order_of_examples_does_not_matter(
    examples: list[Example], config: PartitionConfig, seed: int, shuffler: random.Random
) -> None:
    shuffled = list(examples)
    shuffler.shuffle(shuffled)
    first, second = (make_partition(given, config, seed) for given in (examples, shuffled))
    assert first == second
    assert first.digest == second.digest


@settings(max_examples=80, deadline=None)
@given(datasets(), configs(), st.integers(0, 2**31))
def test_json_keeps_the_hash_and_the_minimum_decides_who_trains(
    examples: list[Example], config: PartitionConfig, seed: int
) -> None:
    partition = make_partition(examples, config, seed)
    assert json.loads(json.dumps(partition.to_json()))["digest"] == partition.digest
    small = {s for s, held in partition.sites.items() if len(held["train"]) < config.minimum}
    assert set(partition.too_small) == small
    assert set(partition.trained) == set(partition.sites) - small


@settings(max_examples=80, deadline=None)
@given(datasets(), configs(), st.integers(0, 2**31))
def test_every_example_is_held_once(
    examples: list[Example], config: PartitionConfig, seed: int
) -> None:
    partition = make_partition(examples, config, seed)
    assert sum(cell.examples for cell in composition(partition, examples)) == len(examples)
    held = [i for by in partition.sites.values() for split in SPLITS for i in by[split]]
    assert sorted(held) == sorted(e.id for e in examples)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**31))
def test_iid_deals_every_topic_evenly(sites: int, seed: int) -> None:
    examples = [example(n, SPLITS[n % 3], n, (n // 3) % 4) for n in range(480)]
    partition = make_partition(examples, PartitionConfig(kind="iid", sites=sites), seed)
    for cell in composition(partition, examples):
        assert abs(cell.examples - 40 / sites) < 1 + 1e-9
