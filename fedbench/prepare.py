"""What a run starts from: its examples, its federations, and what each site holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from fedbench.config import TRAINED, RunConfig, Setting
from fedbench.errors import FedbenchError
from fedbench.models.attached import tokenizer_of
from fedbench.optimizers import Start, reusing
from fedbench.partition import Partition, make_partition
from fedbench.site import SiteContext
from fedbench.streams import generator
from fedbench.tasks import SPLITS, Example, Split, Task, load_task
from fedbench.tokens import Answered, Tokenised, tokenise, training_sequence

#: A setting is a choice of federations (name -> sites), and nothing else anywhere.
FEDERATIONS: Mapping[Setting, Callable[[Partition], dict[str, tuple[str, ...]]]] = {
    "base": lambda partition: {},
    "local": lambda partition: {site: (site,) for site in partition.trained},
    "federated": lambda partition: {"global": partition.trained},
    "centralized": lambda partition: {"global": partition.trained},
}


@dataclass(frozen=True)
class Prepared:
    """Everything that a run reads: fixed by its configuration, before anything is trained."""

    config: RunConfig
    task: Task
    tokenizer: Any
    examples: tuple[Example, ...]  #: within the configuration's limits
    partition: Partition

    def of_split(self, split: Split) -> list[Example]:
        """The selected examples of one split."""
        return [example for example in self.examples if example.split == split]

    def tokenised(self, split: Split, *, blind: bool = False) -> tuple[Tokenised, ...]:
        """The examples of one split as token ids, or their blind prompts."""
        config = self.config
        return _tokenised(config.backbone, config.max_tokens, blind, tuple(self.of_split(split)))


#: Runs of a grid that ask the same of one tokenizer come one after the other in a process.
@lru_cache(maxsize=16)
def _tokenised(
    backbone: str, max_tokens: int, blind: bool, examples: tuple[Example, ...]
) -> tuple[Tokenised, ...]:
    return tuple(tokenise(tokenizer_of(backbone), examples, max_tokens, blind=blind))


def prepare(config: RunConfig) -> Prepared:
    """Load, select and deal the examples of a resolved configuration.

    Raises:
        FedbenchError: the task cannot be loaded, or no site has enough to train on.
    """
    task = load_task(config.task)
    examples = tuple(select(task, config))
    partition = make_partition(examples, config.partition, config.seed)
    if config.setting in TRAINED and not partition.trained:
        raise FedbenchError(
            f"Every site has fewer than partition.minimum = {config.partition.minimum} training "
            "examples: take fewer sites, a lower minimum or a higher train_limit."
        )
    return Prepared(config, task, tokenizer_of(config.backbone), examples, partition)


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


@dataclass(frozen=True)
class SiteContexts(Mapping[str, SiteContext]):
    """Every training site with its own tokenised examples, put together when it is asked for.

    Examples are tokenised once; a site refers to its share of them and copies nothing.
    """

    prepared: Prepared
    model: nn.Module
    folder: Path
    training: Mapping[str, Answered]  #: by example
    validation: Mapping[str, tuple[Tokenised, int]]  #: by example: token ids, right choice
    start: Start  #: sites take turns with one optimizer, emptied at each

    def __getitem__(self, site: str) -> SiteContext:
        held = self.prepared.partition.sites[site]
        judged = [self.validation[i] for i in held["validation"]]
        return SiteContext(
            site=site,
            config=self.prepared.config,
            model=self.model,
            training=[self.training[i] for i in held["train"]],
            validation=[tokens for tokens, _ in judged],
            validation_gold=[gold for _, gold in judged],
            length_normalised=self.prepared.task.length_normalised,
            folder=self.folder,
            start=self.start,
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.prepared.partition.trained)

    def __len__(self) -> int:
        return len(self.prepared.partition.trained)


def site_contexts(prepared: Prepared, model: nn.Module, folder: Path) -> SiteContexts:
    """What the sites of a run hold, each with a folder of its own under ``folder``."""

    def tokens_of(split: Split) -> Iterator[tuple[Example, Tokenised]]:
        return zip(prepared.of_split(split), prepared.tokenised(split), strict=True)

    end = prepared.tokenizer.eos_token_id
    return SiteContexts(
        prepared,
        model,
        folder,
        {e.id: training_sequence(e, tokens, end) for e, tokens in tokens_of("train")},
        {e.id: (tokens, e.gold) for e, tokens in tokens_of("validation")},
        reusing(prepared.config),
    )


def holdings(prepared: Prepared) -> list[dict[str, Any]]:
    """Size and topics of every site, as a record keeps them."""
    partition = prepared.partition
    topic = {example.id: example.topic for example in prepared.examples}
    trained = frozenset(partition.trained)
    rows = []
    for site, held in partition.sites.items():
        mine = [topic[i] for i in held["train"]]
        sizes = {f"n_{split}": len(ids) for split, ids in held.items()}
        topics = {name: mine.count(name) for name in sorted(set(mine))}
        rows.append({"site": site, **sizes, "topics": topics, "trained": site in trained})
    return rows


def _limited(examples: Sequence[Example], limit: int | None) -> list[Example]:
    if limit is None:
        return list(examples)
    ranked = sorted(examples, key=lambda e: (generator("limit", e.group).random(), e.id))
    return ranked[:limit]


def _shuffled(examples: list[Example], seed: int) -> list[Example]:
    """Deal the answers of the training and validation examples among their questions anew.

    An answer moves together with the options it is one of. Dealt without them, the true answer
    would remain an option of each of its questions, and so be its commonest shuffled answer.
    """
    mutable = [i for i, example in enumerate(examples) if example.split != "test"]
    order = generator("shuffled-labels", seed).permutation(mutable)
    result = list(examples)
    for i, j in zip(mutable, order, strict=True):
        result[i] = replace(examples[i], choices=examples[j].choices, gold=examples[j].gold)
    return result
