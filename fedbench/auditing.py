"""What a dataset holds before anything is trained on it: copies, leaks, balance, lengths."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedbench.config import RunConfig
from fedbench.prepare import Prepared, prepare
from fedbench.tasks import SPLITS
from fedbench.tasks.counts import asked_otherwise
from fedbench.tasks.repeats import near_pairs
from fedbench.tasks.specfile import read_spec


def audit(config: RunConfig) -> dict[str, Any]:
    """Everything that is known of the data of a resolved configuration, as plain values.

    Rows that say the same, copies that disagree, what training shares with the test, what sites
    share with each other, labels, lengths in tokens of the backbone, hashes and licence.

    Raises:
        FedbenchError: the task cannot be loaded, for example for a leak it does not accept.
    """
    prepared = prepare(config)
    task, (spec, _) = prepared.task, read_spec(config.task)
    counted = dict(task.audit)
    return {
        "task": task.title,
        "licence": task.licence,
        "split": task.split,
        "files": dict(task.sources),
        "digest": task.digest,
        **{name: counted.pop(name) for name in list(counted) if isinstance(counted[name], int)},
        "near_repeats_of_the_test": spec.near_repeats,
        "test_prompts_asked_otherwise": asked_otherwise(task.examples),
        **_inside_training(prepared),
        "labels": counted["labels"],
        "prompt_tokens": _lengths(prepared),
        "note": task.note,
    }


def _inside_training(prepared: Prepared) -> dict[str, Any]:
    """Pairs of training examples that nearly repeat each other, and those that two sites share."""
    training = prepared.of_split("train")
    holder = {i: site for site, held in prepared.partition.sites.items() for i in held["train"]}
    pairs = near_pairs([example.prompt for example in training])
    across = [(a, b) for a, b in pairs if holder[training[a].id] != holder[training[b].id]]
    label = prepared.config.partition.label
    return {
        "near_pairs_in_training": len(pairs),
        f"near_pairs_between_sites ({label}, {len(prepared.partition.sites)} sites)": len(across),
    }


def _lengths(prepared: Prepared) -> dict[str, int]:
    made = [tokens for split in SPLITS for tokens in prepared.tokenised(split)]
    lengths = [len(one.prompt) + one.cut for one in made]
    return {
        "median": int(np.median(lengths)),
        "longest": max(lengths),
        "limit": prepared.config.max_tokens,
        "cut": sum(one.cut > 0 for one in made),
    }
