"""What a run starts from: the shuffled labels of the negative control tell nobody anything."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from fedbench.config import RunConfig
from fedbench.prepare import prepare, select
from fedbench.tasks import Example, load_task

SEEDS = range(6)


def selected(name: str, labels: str, seed: int = 0) -> list[Example]:
    config = RunConfig.model_validate({"task": name, "labels": labels, "seed": seed})
    return select(load_task(name), config)


def shuffled(name: str, seed: int) -> list[Example]:
    return selected(name, "shuffled", seed)


def guessed(examples: list[Example]) -> float:
    """Share of test items right by a fact's commonest training answer among the options."""
    seen: defaultdict[str, Counter] = defaultdict(Counter)
    for e in examples:
        if e.split == "train":
            seen[e.cluster][e.choices[e.gold]] += 1
    test = [e for e in examples if e.split == "test"]
    return float(
        np.mean(
            [e.choices[e.gold] == max(e.choices, key=seen[e.cluster].__getitem__) for e in test]
        )
    )


@pytest.mark.parametrize("name", ["lookalike_medqa", "lookalike_medmcqa"])
def test_a_facts_commonest_shuffled_answer_is_no_better_than_a_guess(name):
    found = np.mean([guessed(shuffled(name, seed)) for seed in SEEDS])
    assert guessed(selected(name, "true")) == 1
    assert abs(found - 0.25) < 0.05


@pytest.mark.parametrize("name", ["lookalike_medqa", "lookalike_fpb"])
def test_shuffling_moves_answers_with_their_options_and_loses_none(name):
    true, dealt = selected(name, "true"), shuffled(name, 0)
    pool = ("train", "validation")
    moved = [[e for e in some if e.split in pool] for some in (true, dealt)]
    kept = [[e for e in some if e.split not in pool] for some in (true, dealt)]
    assert Counter((e.choices, e.gold) for e in moved[0]) == Counter(
        (e.choices, e.gold) for e in moved[1]
    )
    assert kept[0] == kept[1]
    assert [e.prompt for e in true] == [e.prompt for e in dealt]
    assert sum(a != b for a, b in zip(*moved, strict=True)) > len(moved[0]) / 2


def test_another_seed_deals_the_answers_otherwise():
    assert shuffled("lookalike_fpb", 0) == shuffled("lookalike_fpb", 0)
    assert shuffled("lookalike_fpb", 0) != shuffled("lookalike_fpb", 1)


def test_examples_are_tokenised_once_for_all_runs_that_read_them_alike(monkeypatch):
    config = RunConfig(task="lookalike_fpb", max_tokens=96)
    first = prepare(config).tokenised("test")
    monkeypatch.setattr("fedbench.prepare.tokenise", None)  # nothing is tokenised again
    assert prepare(config.model_copy(update={"seed": 3})).tokenised("test") is first
    monkeypatch.undo()
    shorter = prepare(config.model_copy(update={"max_tokens": 16}))
    assert shorter.tokenised("test") != first
    assert prepare(config).tokenised("test", blind=True) != first
