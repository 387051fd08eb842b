"""Whatever a prompt and its choices say, the boundary between them is where it should be."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.errors import FedbenchError
from fedbench.tasks.task import Example
from fedbench.tokens import tokenise, training_sequence
from tests import toys

TOKENIZER = toys.make_tokenizer()
END = TOKENIZER.eos_token_id

words = st.text(st.characters(exclude_categories=("Cs", "Zs", "Zl", "Zp", "Cc")), min_size=1)
#: As the loader guarantees: a prompt does not end in white space, a choice begins with a space.
special = st.sampled_from(["<|end|>", "<|pad|>", "</s>", "Mood:", "good"])
texts = st.lists(words | special, min_size=1, max_size=12).map(" ".join)
prompts = st.tuples(texts, st.sampled_from(["\nMood:", "\nAnswer:", "?", ""])).map("".join)
choices = st.lists(texts.map(" {}".format), min_size=2, max_size=4, unique=True).map(tuple)


def ids(text):
    return TOKENIZER(text, split_special_tokens=True)["input_ids"]


def example(prompt, some, gold=0):
    return Example(
        id="", split="train", prompt=prompt, blind_prompt="Mood:", choices=some, gold=gold,
        label="", group="", cluster="", topic="",
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(prompt=prompts, some=choices, gold=st.integers(0, 1))
def test_prompt_and_answer_are_the_whole_text_and_part_where_the_prompt_ends(prompt, some, gold):
    item = example(prompt, some, gold)
    (found,) = tokenise(TOKENIZER, [item], 10_000)
    sequence = training_sequence(item, found, END)
    assert list(sequence.tokens) == [*ids(prompt + some[gold]), END]
    assert list(sequence.tokens[: sequence.start]) == ids(prompt)
    assert END not in sequence.tokens[:-1]
    assert TOKENIZER.decode(sequence.tokens[sequence.start : -1]) == some[gold]


@settings(max_examples=100, deadline=None)
@given(prompt=prompts, some=choices, max_tokens=st.integers(16, 80))
def test_what_is_too_long_loses_only_the_beginning_of_its_prompt(prompt, some, max_tokens):
    item = example(prompt, some)
    (whole,) = tokenise(TOKENIZER, [item], 10_000)
    longest = max(map(len, whole.choices))
    if longest + 2 > max_tokens:
        with pytest.raises(FedbenchError, match="raise max_tokens"):
            tokenise(TOKENIZER, [item], max_tokens)
        return
    (found,) = tokenise(TOKENIZER, [item], max_tokens)
    assert found.choices == whole.choices
    assert found.prompt == whole.prompt[-(max_tokens - 1 - longest) :]
    assert 1 <= len(found.prompt) <= len(whole.prompt)
