"""Prompts and choices as token ids: one tokenisation for training and for scoring."""

from __future__ import annotations

import pytest

from fedbench.errors import FedbenchError
from fedbench.tasks.task import Example
from fedbench.tokens import tokenise, training_sequence


def example(prompt="Profit rose.\nMood:", choices=(" bad", " good"), gold=1, blind="Mood:"):
    return Example(
        id=prompt, split="train", prompt=prompt, blind_prompt=blind, choices=choices, gold=gold,
        label=choices[gold], group=prompt, cluster=prompt, topic="",
    )  # fmt: skip


def test_prompt_and_choice_are_the_tokens_of_the_whole_text(tokenizer):
    (found,) = tokenise(tokenizer, [example()], 64)
    assert list(found.prompt) == tokenizer("Profit rose.\nMood:")["input_ids"]
    for choice, ids in zip((" bad", " good"), found.choices, strict=True):
        whole = tokenizer("Profit rose.\nMood:" + choice)["input_ids"]
        assert [*found.prompt, *ids] == whole
        assert tokenizer.decode(ids) == choice


def test_the_supervised_part_is_the_right_answer_and_the_end(tokenizer):
    item = example()
    (found,) = tokenise(tokenizer, [item], 64)
    sequence = training_sequence(item, found, tokenizer.eos_token_id)
    assert tokenizer.decode(sequence.tokens[sequence.start :]) == " good<|end|>"
    assert tokenizer.decode(sequence.tokens[: sequence.start]) == item.prompt


def test_a_template_word_inside_the_question_does_not_move_the_boundary(tokenizer):
    item = example(prompt="Mood: good\nMood: bad\nMood:", gold=0)
    sequence = training_sequence(item, tokenise(tokenizer, [item], 64)[0], 0)
    assert tokenizer.decode(sequence.tokens[: sequence.start]) == item.prompt


def test_a_blind_prompt_has_the_same_choices(tokenizer):
    item = example()
    (seen,), (blind,) = (tokenise(tokenizer, [item], 64, blind=b) for b in (False, True))
    assert tokenizer.decode(blind.prompt) == "Mood:"
    assert blind.choices == seen.choices


def test_a_long_prompt_loses_its_beginning_and_nothing_else(tokenizer):
    item = example(
        prompt="a long beginning " * 20 + "and the end.\nMood:", choices=(" a", " much longer")
    )
    (whole,) = tokenise(tokenizer, [item], 1000)
    (found,) = tokenise(tokenizer, [item], 40)
    assert found.choices == whole.choices
    assert found.prompt == whole.prompt[-len(found.prompt) :]
    assert len(found.prompt) + max(map(len, found.choices)) + 1 == 40


def test_training_and_scoring_read_the_same_prompt_however_it_was_cut(tokenizer):
    item = example(
        prompt="a long beginning " * 20 + "Mood:", choices=(" a", " much longer"), gold=0
    )
    (found,) = tokenise(tokenizer, [item], 40)
    sequence = training_sequence(item, found, tokenizer.eos_token_id)
    assert sequence.tokens[: sequence.start] == found.prompt
    assert len(sequence.tokens) <= 40


def test_a_choice_that_leaves_no_room_is_refused_with_the_remedy(tokenizer):
    with pytest.raises(FedbenchError, match="raise max_tokens"):
        tokenise(tokenizer, [example(choices=(" a", " " + "much longer " * 20))], 24)


def test_one_token_of_the_prompt_is_always_kept(tokenizer):
    item = example(choices=(" a", " b"))
    longest = 1 + max(map(len, tokenise(tokenizer, [item], 64)[0].choices))
    (found,) = tokenise(tokenizer, [item], longest + 1)
    assert len(found.prompt) == 1
    with pytest.raises(FedbenchError):
        tokenise(tokenizer, [item], longest)


def test_nothing_gives_nothing(tokenizer):
    assert tokenise(tokenizer, [], 64) == []
