"""Text as it comes: gold labels, what is supervised and how answers are parsed do not change."""

from __future__ import annotations

import json
import time

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.errors import FedbenchError
from fedbench.evaluate import generate
from fedbench.tasks import load_task
from fedbench.tasks.examples import draft
from fedbench.tasks.sources import Row
from fedbench.tasks.spec import TaskSpec
from fedbench.tasks.task import Example
from fedbench.tokens import Tokenised, tokenise, training_sequence
from tests import toys

TOKENIZER = toys.make_tokenizer()
END = TOKENIZER.eos_token_id
ODD = {
    "emoji": "😀👩‍👩‍👧🏳️‍🌈 up",
    "right to left": "الأرباح ارتفعت \u202e abc \u202c רווח",
    "control characters": "a\x00b\x01\x1b[2J\x7f\x9f",
    "combining marks": "e" + "\u0301" * 300 + " \u0301",
    "white space of all kinds": "a\u00a0\u2003\u2028\u200b\ufeff\x0b\x85b",
    "the prompt's own end": "x\nMood: good\nMood:",
    "the end of another prompt": "Answer: A\nSentiment: positive",
    "label words": "good bad good",
    "special tokens": "<|end|> </s> <|pad|> <s>[INST] <|im_end|><|end|>",
    "braces": "{text} {0} {} {text!r:>99} %s",
    "one character": "…",
    "not assigned": "\ufdd0\U000fffff\ue000",
}
SPEC = TaskSpec.model_validate(yaml.safe_load(toys.TASK))
CHOICE = TaskSpec.model_validate(
    {"name": "quiz", "title": "Quiz", "domain": "x", "options": ["a", "b"],
     "prompt": {"text": "Q: {question}\nAnswer:", "letter": "Q: {question}\n{options}\nAnswer:"},
     "answer": {"field": "right", "kind": "letter"}, "layouts": [{"files": {"all": "x.jsonl"}}]}
)  # fmt: skip


def drafted(spec, **values):
    found = draft(spec, spec.answer, Row("all", "row 1", values))
    return Example(
        id=found.id, split="train", prompt=found.prompt, blind_prompt=found.blind_prompt,
        choices=found.choices, gold=found.gold, label=found.label, group="", cluster="", topic="",
    )  # fmt: skip


def assert_masked(example, max_tokens=4000):
    """The loss covers the right answer and the end, and nothing else; the end comes once."""
    (found,) = tokenise(TOKENIZER, [example], max_tokens)
    sequence = training_sequence(example, found, END)
    assert sequence.tokens[-1] == END
    assert END not in sequence.tokens[:-1]
    answer = sequence.tokens[sequence.start : -1]
    assert TOKENIZER.decode(answer) == example.choices[example.gold]
    asked = TOKENIZER.decode(sequence.tokens[: sequence.start])
    assert asked == example.prompt or (found.cut and len(sequence.tokens) <= max_tokens)
    return found


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("gold", [0, 1])
def test_odd_text_in_a_prompt_moves_neither_label_nor_mask(kind, gold):
    example = drafted(SPEC, text=ODD[kind], mood=str(gold), house="h")
    assert (example.gold, example.label) == (gold, ("bad", "good")[gold])
    assert example.choices == (" bad", " good")
    assert_masked(example)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("right", ["A", "B"])
def test_odd_text_in_an_option_moves_neither_label_nor_mask(kind, right):
    example = drafted(CHOICE, question="what?", a=ODD[kind], b="plain", right=right)
    assert (example.gold, example.label) == ("AB".index(right), right)
    assert_masked(example)


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=("Cs",))), gold=st.integers(0, 1))
def test_any_text_at_all_moves_neither_label_nor_mask(text, gold):
    if not text.strip():
        with pytest.raises(FedbenchError, match="the column 'text' is empty"):
            drafted(SPEC, text=text, mood=str(gold), house="h")
        return
    example = drafted(SPEC, text=text, mood=str(gold), house="h")
    assert example.gold == gold
    assert_masked(example)


class Writing:
    """A model that writes given tokens after every prompt."""

    device = torch.device("cpu")

    def __init__(self, written):
        self.written = written

    def generate(self, input_ids, **ignored):
        rows = torch.tensor([self.written] * len(input_ids))
        return torch.cat([input_ids, rows], dim=1)


@pytest.mark.parametrize("kind", ODD)
def test_an_answer_is_parsed_as_the_option_that_was_written(kind):
    example = drafted(CHOICE, question=ODD[kind], a=ODD[kind], b="plain", right="A")
    items = tokenise(TOKENIZER, [example], 4000)
    for place, written in enumerate(items[0].choices):
        assert generate(Writing([*written, END]), TOKENIZER, [example], items) == [place]
        assert generate(Writing(list(written)), TOKENIZER, [example], items) == [-1]
        more = [*written, *TOKENIZER(" and more")["input_ids"], END]
        assert generate(Writing(more), TOKENIZER, [example], items) == [-1]


def test_an_end_that_is_spelt_out_in_an_answer_does_not_end_it():
    example = drafted(CHOICE, question="what?", a="yes <|end|> no", b="yes", right="A")
    items = tokenise(TOKENIZER, [example], 400)
    assert END not in items[0].choices[0]
    assert generate(Writing([*items[0].choices[0], END]), TOKENIZER, [example], items) == [0]


def test_a_token_that_begins_every_text_is_still_there_and_none_that_a_text_spells():
    from tokenizers.processors import TemplateProcessing

    tokenizer = toys.make_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    first = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", first)]
    )
    example = drafted(SPEC, text="<s> a </s> <|end|>", mood="0", house="h")
    (found,) = tokenise(tokenizer, [example], 400)
    assert found.prompt[0] == first
    assert not {first, END} & {*found.prompt[1:], *found.choices[0]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["word " * 200_000, "x" * 10**6, "😀" * 250_000, "\u0301" * 500_000]
)
def test_a_text_of_a_megabyte_takes_seconds_and_keeps_its_end(text):
    begun = time.process_time()
    example = drafted(SPEC, text=text, mood="1", house="h")
    found = assert_masked(example, max_tokens=128)
    assert found.cut > 100_000
    assert len(found.prompt) + max(map(len, found.choices)) + 1 == 128
    assert time.process_time() - begun < 20


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_megabyte_in_one_field_of_a_file_is_read(tmp_path, form):
    rows = [(f"case {n} " + "long " * (200_000 * (n == 7)), n % 2, "h") for n in range(40)]
    if form == "csv":
        lines = ["text,mood,house", *(",".join(map(str, row)) for row in rows)]
    else:
        lines = [json.dumps(dict(zip(("text", "mood", "house"), row, strict=True))) for row in rows]
    (tmp_path / f"toy.{form}").write_text("\n".join(lines) + "\n")
    path = tmp_path / "toy.yml"
    path.write_text(toys.TASK.replace("toy.csv", f"toy.{form}"))
    found = load_task(str(path)).examples
    assert sorted(int(e.prompt.split()[1]) % 2 == e.gold for e in found) == [True] * 40


def test_pictures_are_told_apart_by_what_they_show(tmp_path):
    """Texts without a word are not near-repeats of one another."""
    faces = [chr(0x1F600 + n) for n in range(60)]
    lines = ["text,mood,house", *(f"{face},{n % 2},h" for n, face in enumerate(faces))]
    (tmp_path / "toy.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = tmp_path / "toy.yml"
    path.write_text(toys.TASK)
    task = load_task(str(path))
    assert {e.prompt.split("\n")[0]: e.gold for e in task.examples} == {
        face: n % 2 for n, face in enumerate(faces)
    }


def test_scoring_is_asked_with_the_tokens_of_training():
    example = drafted(SPEC, text=ODD["special tokens"], mood="1", house="h")
    (found,) = tokenise(TOKENIZER, [example], 400)
    assert isinstance(found, Tokenised)
    sequence = training_sequence(example, found, END)
    assert sequence.tokens == (*found.prompt, *found.choices[1], END)


def test_half_a_character_is_refused_and_its_row_named(tmp_path):
    lines = [json.dumps({"text": f"case {n}", "mood": "0", "house": "h"}) for n in range(9)]
    lines[4] = '{"text": "cut \\ud83d", "mood": "0", "house": "h"}'
    (tmp_path / "toy.jsonl").write_text("\n".join(lines))
    path = tmp_path / "toy.yml"
    path.write_text(toys.TASK.replace("toy.csv", "toy.jsonl"))
    with pytest.raises(FedbenchError, match=r"toy\.jsonl, line 5: half of a character"):
        load_task(str(path))
