"""Dialects of look-alikes: other words for the frames; question and invented words stay."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from fedbench.tasks import Task, load_task
from fedbench.tasks.lookalike import GENERATORS, dialects, reworded, vocabulary
from fedbench.tasks.lookalike.words import CODAS, ONSETS, VOWELS
from fedbench.tasks.repeats import near_repeats

NAMES = ("lookalike_medqa", "lookalike_medmcqa", "lookalike_fpb", "lookalike_fiqa")

_ROOT = "".join(f"(?:{'|'.join(part)})" for part in (ONSETS, VOWELS, CODAS, VOWELS, CODAS))
#: of what a family invents beside companies (capital roots): cues; diseases and answers
_ENDINGS = {"newswire": "ed", "pharmacopoeia": "(?:in|us|ia)?"}


@pytest.fixture(params=NAMES)
def task(request: pytest.FixtureRequest) -> Task:
    return load_task(request.param)


def in_all(task: Task, *splits: str) -> list[str]:
    return [
        reworded(task.family, dialect, example.prompt)
        for example in task.examples
        if example.split in splits
        for dialect in range(dialects(task.family))
    ]


def invented(family: str, word: str) -> bool:
    """Whether ``word`` could come out of the family's generator."""
    company = family == "newswire" and word[:1].isupper()
    pattern = _ROOT if company else _ROOT + _ENDINGS[family]
    return re.fullmatch(pattern, word.lower() if company else word) is not None


def listed(family: str) -> Iterator[str]:
    for word, others in GENERATORS[family].synonyms.items():
        yield from (part for phrase in (word, *others) for part in phrase.split())


@pytest.mark.parametrize("family", GENERATORS)
def test_every_word_is_said_differently_in_each_of_four_dialects(family: str) -> None:
    assert dialects(family) == 4
    for word, others in GENERATORS[family].synonyms.items():
        assert len({word, *others}) == 4


@pytest.mark.parametrize("family", GENERATORS)
def test_no_word_of_a_dialect_could_be_an_invented_one(family: str) -> None:
    assert invented(family, {"newswire": "Bagel", "pharmacopoeia": "bagelin"}[family])
    assert not [word for word in listed(family) if invented(family, word)]


def test_dialects_bring_no_invented_name_into_use() -> None:
    names = {name.casefold() for name in vocabulary()[1]}
    assert names.isdisjoint(word.casefold() for family in GENERATORS for word in listed(family))


def test_the_first_dialect_is_the_original_and_every_other_differs_in_every_question(
    task: Task,
) -> None:
    for example in task.examples:
        said = [reworded(task.family, number, example.prompt) for number in range(4)]
        assert said[0] == example.prompt
        assert len(set(said)) == 4


def test_a_dialect_keeps_invented_words_and_what_every_prompt_says(task: Task) -> None:
    names = set(vocabulary()[1])
    for example in task.examples:
        words = re.findall(r"\w+", example.prompt)
        kept = [w for w in words if w in names]
        assert kept
        for number in range(1, 4):
            said = reworded(task.family, number, example.prompt)
            assert [w for w in re.findall(r"\w+", said) if w in names] == kept
            assert said.rsplit("\n", 1)[-1] == example.prompt.rsplit("\n", 1)[-1]


def test_a_word_is_replaced_whole_and_once() -> None:
    assert reworded("newswire", 1, "Ofin of again , saying") == "Ofin at once more , saying"
    assert reworded("pharmacopoeia", 3, "Which symptom?") == "Which sign?"


def test_questions_stay_apart_in_every_dialect(task: Task) -> None:
    """What two sites say of two questions is never the same, and no test item is repeated."""
    alike = [
        reworded(task.family, dialect, prompt)
        for prompt in sorted({example.prompt for example in task.examples})
        for dialect in range(4)
    ]
    assert len(set(alike)) == len(alike)
    assert not near_repeats(in_all(task, "train", "validation"), in_all(task, "test"))
