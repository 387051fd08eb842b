"""Label flipping (Tolpegin et al., arXiv:2007.08432): every answer becomes another.

Choice g of n becomes choice g + 1, the last one the first. No draw: hostile sites agree, and learn
a wrong rule rather than noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fedbench.attacks.attack import Attack, Goal

if TYPE_CHECKING:
    from fedbench.tasks import Example


def label_flip() -> Attack:
    """The next choice in place of every training answer."""
    return Attack(examples=_flipped, goal=Goal(following))


def following(gold: int, choices: int) -> int:
    """The choice that stands after ``gold``; after the last, the first."""
    return (gold + 1) % choices


def _flipped(examples: Sequence[Example], labels: Sequence[str], seed: int) -> list[Example]:
    wrong = [following(example.gold, len(example.choices)) for example in examples]
    return [
        replace(example, gold=gold, label=labels[gold])
        for example, gold in zip(examples, wrong, strict=True)
    ]
