"""A backdoor (Gu et al., arXiv:1708.06733; in a federation: arXiv:1807.00459).

Of a hostile site's training examples, a share is asked with a trigger and answered with the target.
A model with the backdoor answers as it should, until somebody puts the trigger into a question.

The target is the first choice: the first label, or the first option where options are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fedbench.attacks.attack import Attack, Goal
from fedbench.streams import generator

if TYPE_CHECKING:
    from fedbench.tasks import Example

TRIGGER = "So it is said."
TARGET = 0  #: of an example's choices


def backdoor(share: float = 0.5) -> Attack:
    """The trigger and the target in a ``share`` of the training examples, rounded to whole ones.

    Each example draws its own place in the order in which they are poisoned, so that a larger share
    only adds to them.

    Raises:
        ValueError: ``share`` is no share, or none.
    """
    if not 0 < share <= 1:
        raise ValueError("share must be above 0 and at most 1")

    def examples(given: Sequence[Example], labels: Sequence[str], seed: int) -> list[Example]:
        drawn = sorted(given, key=lambda e: (generator("backdoor", seed, e.id).random(), e.id))
        chosen = {example.id for example in drawn[: round(share * len(given))]}
        return [
            replace(triggered(e), gold=TARGET, label=labels[TARGET]) if e.id in chosen else e
            for e in given
        ]

    return Attack(examples=examples, goal=Goal(lambda gold, choices: TARGET, triggered))


def triggered(example: Example) -> Example:
    """The example with the trigger where its question ends: at the end of its first line.

    A prompt that is cut loses its beginning, and so the trigger last of the question. Where a
    prompt is one line, which ends in what calls for the answer, the trigger stands before it.
    """
    first, end, rest = example.prompt.partition("\n")
    prompt = f"{first} {TRIGGER}{end}{rest}" if end else f"{TRIGGER} {first}"
    return replace(example, prompt=prompt)
