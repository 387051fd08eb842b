"""How far an attack got: the wrong answers that it was after, counted on the test items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedbench.attacks import attack_of
from fedbench.attacks.attack import Goal
from fedbench.evaluate import predict, score
from fedbench.models.deltas import fold
from fedbench.models.tensors import Tensors, load_tensors
from fedbench.prepare import Prepared
from fedbench.tasks import Example
from fedbench.tokens import tokenise

if TYPE_CHECKING:
    import pandas as pd


def attacked(
    prepared: Prepared,
    model: nn.Module,
    adapters: Mapping[str, Tensors],
    deltas: Mapping[str, Tensors],
    items: pd.DataFrame,
) -> dict[str, Any]:
    """What a run's metrics say of its attack under ``attack``; nothing where nobody is hostile.

    ``hostile`` names the sites. Where the attack is after certain answers, ``success`` is the share
    of ``n`` test items that are answered so, of those for which that is wrong, as a mean over
    adapters; ``success_without_trigger`` is the same where nobody puts the trigger in. Where sites
    end with adapters of their own, those of hostile sites do not count.

    Args:
        prepared: what the run read.
        model: with the backbone that adapters belong to.
        adapters: as :func:`fedbench.summary.score_adapters`.
        deltas: the same.
        items: what that found, with one row per test item and adapter.
    """
    if not prepared.hostile:
        return {}
    told: dict[str, Any] = {"hostile": list(prepared.hostile)}
    goal = attack_of(prepared.config.attack).goal
    if goal is None:
        return {"attack": told}
    test = prepared.of_split("test")
    adapters = {name: one for name, one in adapters.items() if name not in prepared.hostile}
    items = items[~items["adapter"].isin(prepared.hostile)]
    plain = [part["prediction"].to_numpy() for _, part in items.groupby("adapter", sort=False)]
    told["n"] = sum(_aim(goal, example) != example.gold for example in test)
    if not goal.triggered:
        return {"attack": told | {"success": share(goal, test, plain)}}
    asked = _answers(prepared, model, adapters, deltas, [goal.asked(one) for one in test])
    found = {
        "success": share(goal, test, asked),
        "success_without_trigger": share(goal, test, plain),
    }
    return {"attack": told | found}


def share(
    goal: Goal, test: Sequence[Example], answers: Sequence[NDArray[np.int64]]
) -> float | None:
    """Of the items for which what is wanted is wrong, how many are answered so; a mean.

    ``answers`` holds, by adapter, the index of the choice of every item. None without such items.
    """
    aims = np.array([_aim(goal, example) for example in test])
    counted = aims != np.array([example.gold for example in test])
    if not counted.any():
        return None
    return float(np.mean([(of == aims)[counted].mean() for of in answers]))


def _aim(goal: Goal, example: Example) -> int:
    return goal.wanted(example.gold, len(example.choices))


def _answers(
    prepared: Prepared,
    model: nn.Module,
    adapters: Mapping[str, Tensors],
    deltas: Mapping[str, Tensors],
    asked: Sequence[Example],
) -> list[NDArray[np.int64]]:
    """What every adapter answers to ``asked``."""
    config = prepared.config
    tokens = tokenise(prepared.tokenizer, asked, config.max_tokens)
    found = []
    for name, tensors in adapters.items():
        fold(model, deltas.get(name, {}))
        load_tensors(model, tensors)
        scores = score(model, tokens, config.device, mean=prepared.task.length_normalised)
        found.append(predict(scores))
    return found
