"""What a run starts from: its examples, its federations, and what each site holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from fedbench.config import RunConfig, Setting
from fedbench.partition import Partition
from fedbench.site import SiteContext
from fedbench.streams import generator
from fedbench.tasks import SPLITS, Example, Split, Task
from fedbench.tokens import tokenise, training_sequence

#: A setting is a choice of federations (name -> sites), and nothing else anywhere.
FEDERATIONS: Mapping[Setting, Callable[[Partition], dict[str, tuple[str, ...]]]] = {
    "base": lambda partition: {},
    "local": lambda partition: {site: (site,) for site in partition.trained},
    "federated": lambda partition: {"global": partition.trained},
    "centralized": lambda partition: {"global": partition.trained},
}


def select(task: Task, config: RunConfig) -> list[Example]:
    """The task's examples within the limits of ``config``, labels shuffled if it says so.

    A limit keeps the groups with the smallest hashes, so a smaller limit is a subset of a larger.
    """
    limits: dict[Split, int | None] = {
        "train": config.train_limit,
        "validation": config.validation_limit,
        "test": config.test_limit,
    }
    kept = [
        example for split in SPLITS for example in _limited(task.of_split(split), limits[split])
    ]
    return _shuffled(kept, config.seed) if config.labels == "shuffled" else kept


def site_contexts(
    config: RunConfig,
    tokenizer: Any,
    task: Task,
    examples: Sequence[Example],
    partition: Partition,
    model: nn.Module,
    folder: Path,
) -> dict[str, SiteContext]:
    """Every training site with its own tokenised examples."""
    known = [example for example in examples if example.split != "test"]
    tokens = dict(
        zip(
            (example.id for example in known),
            tokenise(tokenizer, known, config.max_tokens),
            strict=True,
        )
    )
    by_id = {example.id: example for example in known}
    end = tokenizer.eos_token_id
    return {
        site: SiteContext(
            site=site,
            config=config,
            model=model,
            training=[
                training_sequence(by_id[i], tokens[i], end) for i in partition.sites[site]["train"]
            ],
            validation=[tokens[i] for i in partition.sites[site]["validation"]],
            validation_gold=[by_id[i].gold for i in partition.sites[site]["validation"]],
            mean=task.length_normalised,
            folder=folder,
        )
        for site in partition.trained
    }


def holdings(examples: Sequence[Example], partition: Partition) -> list[dict[str, Any]]:
    """Size and topics of every site, as a record keeps them."""
    topic = {example.id: example.topic for example in examples}
    rows = []
    for site, held in partition.sites.items():
        mine = [topic[i] for i in held["train"]]
        sizes = {f"n_{split}": len(ids) for split, ids in held.items()}
        topics = {name: mine.count(name) for name in sorted(set(mine))}
        rows.append({"site": site, **sizes, "topics": topics, "trained": site in partition.trained})
    return rows


def _limited(examples: Sequence[Example], limit: int | None) -> list[Example]:
    if limit is None:
        return list(examples)
    ranked = sorted(examples, key=lambda e: (generator("limit", e.group).random(), e.id))
    return ranked[:limit]


def _shuffled(examples: list[Example], seed: int) -> list[Example]:
    """Permute the right answers of the training and validation examples among themselves."""
    mutable = [i for i, example in enumerate(examples) if example.split != "test"]
    golds = [examples[i].gold for i in mutable]
    order = generator("shuffled-labels", seed).permutation(len(golds))
    result = list(examples)
    for i, j in zip(mutable, order, strict=True):
        gold = golds[j] % len(examples[i].choices)
        result[i] = replace(examples[i], gold=gold)
    return result
