"""What a site holds: the rows of its own file, asked as its task's description says."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.hashing import sha256_json
from fedbench.models.attached import tokenizer_of
from fedbench.partition import Partition
from fedbench.prepare import Prepared, select, site_contexts
from fedbench.site import SiteContext
from fedbench.tasks import SPLITS, Task
from fedbench.tasks.load import load_own
from fedbench.tasks.spec import TaskSpec
from fedbench.tasks.specfile import read_spec
from fedbench.tasks.task import Split
from fedbench.tokens import Tokenised, tokenise


def own_task(description: Path, data: Path) -> tuple[TaskSpec, Task]:
    """The task in a YAML file with the rows of a site's own file, and its description.

    Raises:
        FedbenchError: the description, the file, a row or a field is wrong.
    """
    spec, _ = read_spec(str(description))
    return spec, load_own(spec, data)


def training_digest(task: Task) -> str:
    """SHA-256 of the training examples, by which a site names its data to itself."""
    return sha256_json(sorted(example.id for example in task.of_split("train")))


def own_context(
    config: RunConfig, site: str, task: Task, model: nn.Module, folder: Path
) -> SiteContext:
    """A site that holds all examples of ``task``.

    Raises:
        FedbenchError: it has fewer training examples than the run asks of a site.
    """
    selected = select(task, config)
    held: dict[Split, tuple[str, ...]] = {
        split: tuple(e.id for e in selected if e.split == split) for split in SPLITS
    }
    if len(held["train"]) < config.partition.minimum:
        raise FedbenchError(
            f"The file holds {len(held['train'])} training examples, and a site of this run needs "
            f"partition.minimum = {config.partition.minimum}."
        )
    partition = Partition("own", {site: held}, ())
    tokenizer = tokenizer_of(config.backbone)
    prepared = Prepared(config, task, tokenizer, tuple(selected), partition, honest=tuple(selected))
    return site_contexts(prepared, model, folder)[site]


def own_test(config: RunConfig, task: Task) -> list[tuple[Tokenised, int]]:
    """The test items of a site, each with its right choice: no message is ever about them."""
    items = [e for e in select(task, config) if e.split == "test"]
    tokens = tokenise(tokenizer_of(config.backbone), items, config.max_tokens)
    return [(one, item.gold) for one, item in zip(tokens, items, strict=True)]
