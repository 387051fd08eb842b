"""From trained adapters to a run's record: one row per test item, and the metrics over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from fedbench.evaluate import generate, predict, score
from fedbench.hashing import sha256_text, short
from fedbench.heterogeneity import of_sites
from fedbench.metrics import accuracy, macro_f1
from fedbench.models.deltas import fold
from fedbench.models.tensors import Tensors, load_tensors
from fedbench.partition import Partition
from fedbench.prepare import Prepared
from fedbench.store import BYTES, MASKED
from fedbench.tasks import SPLITS, Example

if TYPE_CHECKING:
    import pandas as pd


def score_adapters(
    prepared: Prepared,
    model: nn.Module,
    adapters: Mapping[str, Tensors],
    deltas: Mapping[str, Tensors],
) -> pd.DataFrame:
    """Items of every adapter on the whole test set; see :attr:`fedbench.store.Run.items`.

    ``deltas`` are added to the backbone's weights, by the name of the adapter they belong to.

    Items for free generation are dealt to the adapters in turn: there are ``generated`` in all.
    """
    import pandas as pd

    config, tokenizer, test = prepared.config, prepared.tokenizer, prepared.of_split("test")
    mean = prepared.task.length_normalised
    seen, blind = prepared.tokenised("test"), prepared.tokenised("test", blind=True)
    fixed = _fixed_columns(test, prepared.partition, majority(prepared.honest))
    frames = []
    for number, (name, tensors) in enumerate(adapters.items()):
        fold(model, deltas.get(name, {}))
        load_tensors(model, tensors)
        scores = score(model, seen, config.device, mean=mean)
        asked = range(number, min(config.generated, len(test)), len(adapters))
        written = generate(model, tokenizer, [test[i] for i in asked], [seen[i] for i in asked])
        answers = dict(zip(asked, written, strict=True))
        frames.append(
            fixed.assign(
                adapter=name,
                prediction=predict(scores),
                blind=predict(score(model, blind, config.device, mean=mean)),
                generated=pd.array([answers.get(i) for i in range(len(test))], dtype="Int64"),
                scores=[row.tolist() for row in scores],
            )
        )
    return pd.concat(frames, ignore_index=True)


def majority(examples: Sequence[Example]) -> int:
    """Index of the choice that is right most often in training; the first of equals."""
    counts = Counter(example.gold for example in examples if example.split == "train")
    return min(counts, key=lambda gold: (-counts[gold], gold))


def summary(
    prepared: Prepared, items: pd.DataFrame, rounds: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Everything about a run that tables show: what was measured, on what, with how much work."""
    task, sizes = prepared.task, Counter(example.split for example in prepared.examples)
    work = ("steps", "examples", "tokens", "flops")
    return {
        "task_title": task.title,
        "domain": task.domain,
        "synthetic": task.synthetic,
        "split": task.split,
        "licence": task.licence,
        "note": task.note,
        "scoring": task.scoring,
        "labels": list(task.labels),
        "audit": dict(task.audit),
        "n_train": sizes["train"],
        "n_validation": sizes["validation"],
        "n_test": sizes["test"],
        "cut_prompts": cut_prompts(prepared),
        "sites_too_small": list(prepared.partition.too_small),
        "heterogeneity": of_sites(
            prepared.partition, prepared.honest, classes=task.scoring == "label"
        ),
        **scores_of(items),
        **_privacy(prepared, rounds),
        **{name: _sum([record[name] for record in rounds]) for name in work},
        **_bytes(rounds),
    }


def _bytes(rounds: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """By kind; of secure aggregation only where there is any. An abandoned round lacks some."""
    masked = [way for way in MASKED if any(f"bytes_{way}" in record for record in rounds)]
    kinds = [f"bytes_{way}" for way in (*BYTES, *masked)]
    return {kind: sum(record.get(kind, 0) for record in rounds) for kind in kinds}


def _sum(counts: Sequence[int | None]) -> int | None:
    """None if one of them was not told."""
    told = [count for count in counts if count is not None]
    return sum(told) if len(told) == len(counts) else None


def _privacy(prepared: Prepared, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What privacy has cost in the end, by site: of a mechanism whose noise is simulated."""
    spent = {site: value for record in rounds for site, value in record.get("epsilon", {}).items()}
    if prepared.config.privacy is None:
        return {}
    return {"privacy": {"epsilon": spent, "noise": "simulated"}}


def cut_prompts(prepared: Prepared) -> dict[str, int]:
    """How many prompts of each split lost their beginning to ``max_tokens``."""
    return {split: sum(one.cut > 0 for one in prepared.tokenised(split)) for split in SPLITS}


def scores_of(items: pd.DataFrame) -> dict[str, Any]:
    """Accuracy and macro-F1 as means over adapters, and the share of invalid free outputs."""
    pairs = [
        (part["gold"].to_numpy(), part["prediction"].to_numpy())
        for _, part in items.groupby("adapter")
    ]
    generated = items["generated"].dropna()
    return {
        "accuracy": float(np.mean([accuracy(*pair) for pair in pairs])),
        "macro_f1": float(np.mean([macro_f1(*pair) for pair in pairs])),
        "n_generated": len(generated),
        "invalid_rate": float((generated == -1).mean()) if len(generated) else None,
    }


def _fixed_columns(
    test: Sequence[Example], partition: Partition, most_frequent: int
) -> pd.DataFrame:
    import pandas as pd

    holder = {i: site for site, held in partition.sites.items() for i in held["test"]}
    return pd.DataFrame(
        {
            "item": [example.id for example in test],
            "cluster": [short(sha256_text(example.cluster)) for example in test],
            "site": [holder[example.id] for example in test],
            "choices": [len(example.choices) for example in test],
            "gold": [example.gold for example in test],
            "majority": [most_frequent for _ in test],
        }
    )
