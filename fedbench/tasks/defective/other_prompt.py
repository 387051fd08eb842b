"""WRONG ON PURPOSE: test items are asked with another prompt than those of training.

    "<text>\\nSentiment:"    in training,    "Question: <text>\\nAnswer:"    at scoring

FlowerTune trains with one prompt and scores with others.
"""

from __future__ import annotations

from dataclasses import replace

from fedbench.tasks.task import Example


def other_prompt(examples: tuple[Example, ...]) -> tuple[Example, ...]:
    """Test items keep their ids, so that their scores can be paired with those of the right task.

    Validation items keep their prompt: whoever looks at the curves sees nothing.
    """
    return tuple(_asked_otherwise(e) if e.split == "test" else e for e in examples)


def _asked_otherwise(example: Example) -> Example:
    text, _, _ = example.prompt.rpartition("\n")
    return replace(example, prompt=f"Question: {text}\nAnswer:", blind_prompt="Answer:")
