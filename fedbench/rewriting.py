"""What sites do to their examples: some answer a few of them wrongly, some word them otherwise.

Both are decided by who holds an example, and done to the example itself, so that every setting
reads the same: ``centralized`` trains on the very answers that the sites would have trained on.
Hostile sites, of which a federation alone has any, do with their training examples what they like.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fedbench.attacks import Attack
from fedbench.config import PartitionConfig
from fedbench.partition import Partition
from fedbench.streams import generator
from fedbench.tasks import SPLITS, Example, Task
from fedbench.tasks.lookalike import reworded


def noisy_sites(partition: Partition, config: PartitionConfig, seed: int) -> tuple[str, ...]:
    """The sites that give wrong answers: a share ``noisy`` of those large enough, at least one.

    Each site draws its own place in the order in which sites become noisy. One that is left out
    keeps its place, so that the others are as noisy as with it.
    """
    if not config.noise:
        return ()
    large = [site for site in partition.sites if site not in partition.too_small]
    drawn = sorted(large, key=lambda site: generator("noisy", seed, site).random())
    return tuple(sorted(drawn[: max(1, round(config.noisy * len(drawn)))]))


def wrong_answers(
    examples: Sequence[Example], partition: Partition, config: PartitionConfig, seed: int
) -> dict[str, int]:
    """The wrong choice, by id, of every training example that has one; the rest stay true.

    At a noisy site these are a share ``noise`` of the training examples, rounded to whole ones, and
    more noise adds to them. All wrong choices are equally likely. Each example draws for itself, so
    that the order of examples does not matter. Validation and test answers are never wrong.
    """
    by_id = {example.id: example for example in examples}
    found = {}
    for site in noisy_sites(partition, config, seed):
        mine = [by_id[i] for i in partition.sites[site]["train"]]
        drawn = sorted((*_draw(example, seed), example.id) for example in mine)
        found.update({i: choice for _, choice, i in drawn[: round(config.noise * len(mine))]})
    return found


def rewritten(
    task: Task,
    examples: Sequence[Example],
    partition: Partition,
    dialects: int,
    wrong: Mapping[str, int],
) -> Iterator[Example]:
    """The examples with their ``wrong`` answers, in the dialects of the sites that hold them.

    Site number i, of all sites, speaks dialect i % ``dialects``, in its test items too. An example
    keeps its id, which names the question.
    """
    spoken = {
        i: number % dialects
        for number, held in enumerate(partition.sites.values())
        for split in SPLITS
        for i in held[split]
    }
    for example in examples:
        told = example
        gold = wrong.get(example.id) if example.split == "train" else None
        if gold is not None:
            told = replace(told, gold=gold, label=task.labels[gold])
        if dialect := spoken[example.id]:
            told = replace(
                told,
                prompt=reworded(task.family, dialect, told.prompt),
                blind_prompt=reworded(task.family, dialect, told.blind_prompt),
            )
        yield told


def poisoned(
    task: Task,
    examples: Sequence[Example],
    partition: Partition,
    attack: Attack,
    hostile: Sequence[str],
    seed: int,
) -> list[Example]:
    """The examples, of which ``hostile`` sites have attacked their own training examples.

    Validation and test examples stay as they are, also those that a hostile site holds.
    """
    by_id = {example.id: example for example in examples}
    changed: dict[str, Example] = {}
    for site in hostile:
        mine = [by_id[i] for i in partition.sites[site]["train"]]
        changed.update((e.id, e) for e in attack.examples(mine, task.labels, seed))
    return [changed.get(example.id, example) for example in examples]


def _draw(example: Example, seed: int) -> tuple[float, int]:
    """The example's place in the order in which answers become wrong, and its wrong choice."""
    random = generator("wrong-answer", seed, example.id)
    place, count = random.random(), len(example.choices)
    return place, (example.gold + int(random.integers(1, count))) % count
