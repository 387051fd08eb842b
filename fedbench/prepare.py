"""What a run starts from: its examples, its federations, and what each site holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from fedbench.attacks import HONEST, Attack, attack_of
from fedbench.attacks.hostile import hostile_sites
from fedbench.config import ONE_SITE, REWRITTEN, TRAINED, RunConfig, Setting
from fedbench.errors import FedbenchError
from fedbench.faults.validity import unreachable
from fedbench.models.attached import tokenizer_of
from fedbench.models.tensors import Tensors, trained_tensors
from fedbench.optimizers import Start, reusing
from fedbench.partition import Partition, make_partition
from fedbench.rewriting import poisoned, rewritten, wrong_answers
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
    examples: tuple[Example, ...]  #: within the configuration's limits, as their sites have them
    partition: Partition
    wrong: frozenset[str] = frozenset()  #: training examples with a wrong answer
    hostile: tuple[str, ...] = ()  #: sites that attack the federation
    honest: tuple[Example, ...] = ()  #: what the examples were before hostile sites attacked theirs

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
    """Load, select and deal the examples of a resolved configuration, then rewrite them.

    What a site does to its examples (:mod:`fedbench.rewriting`) is done before the sites of a
    setting are told apart: ``centralized`` pools the very examples that the sites have.

    Raises:
        FedbenchError: the task cannot be loaded, no site has enough to train on, or too few have
            for the policy's minimum.
    """
    task = load_task(config.task)
    selected = select(task, config)
    dealt = make_partition(selected, config.partition, config.seed)
    wrong = wrong_answers(selected, dealt, config.partition, config.seed)
    honest = list(rewritten(task, selected, dealt, config.partition.dialects, wrong))
    hostile = _hostile(dealt, config)
    attack = attack_of(config.attack)
    examples = tuple(poisoned(task, honest, dealt, attack, hostile, config.seed))
    pooled = config.setting in REWRITTEN
    partition = make_partition(selected, ONE_SITE, config.seed) if pooled else dealt
    if config.setting in TRAINED and not partition.trained:
        raise FedbenchError(
            "Every site that may take part has fewer than partition.minimum = "
            f"{config.partition.minimum} training examples: take fewer sites, a lower minimum or a "
            "higher train_limit."
        )
    if config.setting == "federated" and (why := unreachable(config, partition.trained)):
        raise FedbenchError(f"The configuration cannot be used: {why}.")
    tokenizer = tokenizer_of(config.backbone)
    return Prepared(
        config, task, tokenizer, examples, partition, frozenset(wrong), hostile, tuple(honest)
    )


def _hostile(partition: Partition, config: RunConfig) -> tuple[str, ...]:
    """Sites that attack; one that is left out keeps its place, so that the others stay the same.

    Raises:
        FedbenchError: they are no minority, which no rule withstands.
    """
    large = [site for site in partition.sites if site not in partition.too_small]
    drawn = hostile_sites(large, config.hostile, config.seed)
    found = tuple(site for site in drawn if site in partition.trained)
    if found and 2 * len(found) >= len(partition.trained):
        raise FedbenchError(
            f"hostile = {config.hostile:g} makes {len(found)} of {len(partition.trained)} sites "
            "hostile, and no rule withstands a half: say less, or take more sites."
        )
    return found


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
    initial: Tensors  #: the model's adapter as it is at first
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
            initial=self.initial,
            folder=self.folder,
            start=self.start,
            attack=self._attack(site),
        )

    def _attack(self, site: str) -> Attack:
        hostile = site in self.prepared.hostile
        return attack_of(self.prepared.config.attack) if hostile else HONEST

    def __iter__(self) -> Iterator[str]:
        return iter(self.prepared.partition.trained)

    def __len__(self) -> int:
        return len(self.prepared.partition.trained)


def site_contexts(prepared: Prepared, model: nn.Module, folder: Path) -> SiteContexts:
    """What the sites of a run hold, each with a folder of its own under ``folder``.

    ``model`` has the adapter that all begin with.
    """

    def tokens_of(split: Split) -> Iterator[tuple[Example, Tokenised]]:
        return zip(prepared.of_split(split), prepared.tokenised(split), strict=True)

    end = prepared.tokenizer.eos_token_id
    return SiteContexts(
        prepared,
        model,
        folder,
        {e.id: training_sequence(e, tokens, end) for e, tokens in tokens_of("train")},
        {e.id: (tokens, e.gold) for e, tokens in tokens_of("validation")},
        trained_tensors(model),
        reusing(prepared.config),
    )


def holdings(prepared: Prepared) -> list[dict[str, Any]]:
    """Size and topics of every site, as a record keeps them.

    Topics that stand in a column of private rows are numbered, in the order of their names.

    Where answers are noisy, ``n_wrong`` says how many training answers of a site are wrong: 0 at a
    site that is not noisy.
    """
    partition = prepared.partition
    names = sorted({example.topic for example in prepared.task.examples})
    shown = {name: f"topic-{number:02d}" for number, name in enumerate(names)}
    if prepared.task.told_topics:
        shown = dict(zip(names, names, strict=True))
    topic = {example.id: shown[example.topic] for example in prepared.examples}
    trained = frozenset(partition.trained)
    rows = []
    for site, held in partition.sites.items():
        mine = [topic[i] for i in held["train"]]
        sizes = {f"n_{split}": len(ids) for split, ids in held.items()}
        if prepared.config.partition.noise:
            sizes["n_wrong"] = len(prepared.wrong.intersection(held["train"]))
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
