"""WRONG ON PURPOSE: test items stand in the training split as well.

    train  <-  train, with some of its rows exchanged for test items

In FlowerTune's finance challenge 29 of the 304 test items of FiQA, about one in ten, are among the
training rows. One in two is nobody's: it shows what more of the same does.

There are as many training rows as before, so that a leak is not mistaken for more data and more
steps. What is exchanged costs what could have been learned from it: a gain is that of the leak less
that cost.
"""

from __future__ import annotations

from dataclasses import replace

from fedbench.tasks.task import Example

Examples = tuple[Example, ...]


def tenth(examples: Examples) -> Examples:
    """One test item in ten is trained on."""
    return _leaky(examples, 10)


def half(examples: Examples) -> Examples:
    """One test item in two is trained on."""
    return _leaky(examples, 2)


def _leaky(examples: Examples, every: int) -> Examples:
    """Exchange training rows for test items, at most as many as there are training rows.

    Ids are hashes of what is asked, so that taking some in their order is taking any.
    """
    leaked = _by_id(examples, "test")[::every]
    given = _by_id(examples, "train")[: len(leaked)]
    gone = {example.id for example in given}
    kept = [e for e in examples if e.split != "train" or e.id not in gone]
    return (*kept, *(replace(example, split="train") for example in leaked[: len(given)]))


def _by_id(examples: Examples, split: str) -> list[Example]:
    return sorted((e for e in examples if e.split == split), key=lambda example: example.id)
