"""Scoring by likelihood against one forward per choice, and free generation taken at its word."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fedbench import evaluate
from fedbench.evaluate import generate, gold_loss, predict, score
from fedbench.tasks.task import Example
from fedbench.tokens import Tokenised, tokenise
from tests import bigram

ITEMS = [
    Tokenised((5, 9, 4, 7), ((11,), (12,), (13,))),
    Tokenised((100, 200, 300), ((40, 41, 42), (45,))),
    Tokenised((8,), ((1, 2), (3, 4))),
    Tokenised((100, 200, 300), ((40, 41, 42), (45,))),
    Tokenised((100, 200, 300, 4, 5, 6), ((40, 41, 42), (45,))),
]


@pytest.fixture(scope="module")
def model(backbones):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(backbones("llama")).double().eval()


def naive(model, item, mean):
    """Log-likelihood of every choice from a plain forward of prompt and choice."""
    rows = []
    for choice in item.choices:
        ids = torch.tensor([[*item.prompt, *choice]])
        with torch.no_grad():
            logs = model(input_ids=ids).logits[0].log_softmax(-1)
        tokens = [logs[len(item.prompt) - 1 + i, token].item() for i, token in enumerate(choice)]
        rows.append(np.mean(tokens) if mean else np.sum(tokens))
    return rows


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("budget", [1, 12, 4096])
def test_scores_are_those_of_one_forward_per_choice(model, mean, budget, monkeypatch):
    monkeypatch.setitem(evaluate._TOKENS_PER_BATCH, "cpu", budget)
    found = score(model, ITEMS, "cpu", mean=mean)
    for row, item in zip(found, ITEMS, strict=True):
        np.testing.assert_allclose(row, naive(model, item, mean), rtol=1e-9)


def test_items_come_back_in_the_order_they_were_asked(model):
    forward, backward = (
        score(model, ITEMS, "cpu", mean=False),
        score(model, ITEMS[::-1], "cpu", mean=False),
    )
    for a, b in zip(forward, backward[::-1], strict=True):
        np.testing.assert_array_equal(a, b)


#: Two items offer one prompt different choices; the third prompt has more than fit a short row.
OFFERED = [
    Tokenised((5, 9, 4), ((11,), (12, 13))),
    Tokenised((5, 9, 4), ((12, 13), (14,))),
    Tokenised((8, 7), tuple((n, n + 1, n + 2) for n in range(20, 26))),
]


@pytest.mark.parametrize(("room", "rows"), [(64, 2), (5, 4)])
def test_a_choice_is_scored_once_after_its_prompt_in_rows_of_bounded_length(
    model, monkeypatch, room, rows
):
    read = []
    original = evaluate.collate_branches

    def count(prompts, choices, *args):
        read.extend(zip(prompts, choices, strict=True))
        return original(prompts, choices, *args)

    monkeypatch.setattr(evaluate, "collate_branches", count)
    monkeypatch.setattr(evaluate, "_ROOM", room)
    found = score(model, OFFERED, "cpu", mean=False)
    for row, item in zip(found, OFFERED, strict=True):
        np.testing.assert_allclose(row, naive(model, item, False), rtol=1e-9)
    pairs = [(prompt, choice) for prompt, choices in read for choice in choices]
    assert len(pairs) == len(set(pairs)) == 3 + 6
    assert len(read) == rows


def test_the_same_item_is_read_once(model, monkeypatch):
    rows = []
    original = evaluate.collate_branches

    def count(prompts, *args):
        rows.extend(prompts)
        return original(prompts, *args)

    monkeypatch.setattr(evaluate, "collate_branches", count)
    score(model, ITEMS * 3, "cpu", mean=False)
    assert len(rows) == len(set(ITEMS)) == 4


def test_no_batch_exceeds_the_token_budget():
    items = [Tokenised((1,) * n, ((2,), (3,))) for n in (1, 2, 3, 8, 9, 30)]
    batches = list(evaluate._by_tokens(items, 20))
    assert [item for batch in batches for item in batch] == items
    for batch in batches:
        assert len(batch) == 1 or len(batch) * len(batch[-1].prompt) <= 20


def test_nothing_to_score_gives_nothing(model):
    assert score(model, [], "cpu", mean=False) == []
    assert predict([]).tolist() == []


def test_scoring_leaves_no_gradient_behind():
    model = bigram.Bigram()
    score(model, [Tokenised((1,), ((2,), (3,)))], "cpu", mean=False)
    assert model.table.grad is None


def test_a_tie_goes_to_the_first_choice():
    untrained = score(bigram.Bigram(), [Tokenised((1,), ((4,), (2,), (3,)))], "cpu", mean=False)
    assert predict(untrained).tolist() == [0]


def test_the_most_likely_choice_is_predicted():
    model = bigram.Bigram()
    with torch.no_grad():
        model.table[1, 3] = 1.0
        model.table[2, 4] = 1.0
    items = [Tokenised((5, 1), ((2,), (3,))), Tokenised((5, 2), ((4,), (3,)))]
    assert predict(score(model, items, "cpu", mean=False)).tolist() == [1, 0]


def test_a_sum_prefers_short_choices_and_a_mean_does_not():
    model = bigram.Bigram()
    items = [Tokenised((1,), ((2, 3), (4,)))]
    ((long, short),) = score(model, items, "cpu", mean=False)
    assert (long, short) == pytest.approx((-2 * math.log(7), -math.log(7)))
    ((long, short),) = score(model, items, "cpu", mean=True)
    assert long == pytest.approx(short)


def test_the_gold_loss_is_the_cross_entropy_among_the_choices():
    scores = [np.log([0.2, 0.6]), np.log([0.1, 0.1])]
    expected = (-math.log(0.75) - math.log(0.5)) / 2
    assert gold_loss(scores, [1, 0]) == pytest.approx(expected)


def test_a_blind_score_does_not_depend_on_the_question(model, tokenizer):
    items = [example(f"question {i}\nMood:") for i in range(3)]
    blind = score(model, tokenise(tokenizer, items, 64, blind=True), "cpu", mean=False)
    seen = score(model, tokenise(tokenizer, items, 64), "cpu", mean=False)
    assert len({tuple(row) for row in blind}) == 1
    assert len({tuple(row) for row in seen}) == 3


def example(prompt, choices=(" bad", " good")):
    return Example(
        id=prompt, split="test", prompt=prompt, blind_prompt="Mood:", choices=choices, gold=0,
        label="bad", group=prompt, cluster=prompt, topic="",
    )  # fmt: skip


def written(model, tokenizer, examples, max_tokens=64):
    return generate(model, tokenizer, examples, tokenise(tokenizer, examples, max_tokens))


class Writer:
    """Stands for a model: writes the text that is set for a prompt, whatever its padding."""

    device = "cpu"

    def __init__(self, tokenizer, texts):
        self.tokenizer, self.texts, self.calls = tokenizer, texts, []

    def generate(self, input_ids, attention_mask, max_new_tokens, **options):
        self.calls.append((input_ids, attention_mask, max_new_tokens, options))
        rows = []
        for ids, mask in zip(input_ids.tolist(), attention_mask.tolist(), strict=True):
            prompt = self.tokenizer.decode([t for t, m in zip(ids, mask, strict=True) if m])
            written = self.tokenizer(self.texts[prompt])["input_ids"][:max_new_tokens]
            rows.append([*ids, *written, *[0] * (max_new_tokens - len(written))])
        return torch.tensor(rows)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" good<|end|>", 1),
        (" bad<|end|> whatever follows", 0),
        ("good<|end|>", 1),
        (" good", -1),  # no end in time
        (" Good<|end|>", -1),
        (" not good<|end|>", -1),
        (" good bad<|end|>", -1),
        (" goodness<|end|>", -1),
        ("<|end|>", -1),
        ("", -1),
    ],
)
def test_an_output_counts_only_if_it_is_exactly_a_choice(tokenizer, text, answer):
    filler = " x" * 12 if "<|end|>" not in text else ""
    model = Writer(tokenizer, {"a": text + filler})
    assert written(model, tokenizer, [example("a")]) == [answer]


def test_generated_answers_come_in_the_order_asked_over_all_batches(tokenizer, monkeypatch):
    monkeypatch.setattr(evaluate, "_GENERATED_TOGETHER", 2)
    prompts = ["a long one:", "b:", "a longer one yet:", "c:", "d d:"]
    outputs = [" good<|end|>", " bad<|end|>", "?<|end|>", " good<|end|>", " bad<|end|>"]
    model = Writer(tokenizer, dict(zip(prompts, outputs, strict=True)))
    found = written(model, tokenizer, [example(p) for p in prompts])
    assert found == [1, 0, -1, 1, 0]
    assert len(model.calls) == 3


def test_a_long_prompt_is_cut_from_its_beginning_before_generation(tokenizer):
    model = Writer(tokenizer, {})
    model.texts = type("Any", (dict,), {"__missing__": lambda self, key: " good<|end|>"})()
    written(model, tokenizer, [example("a long beginning " * 30 + "Mood:")], 32)
    ids, mask, room, options = model.calls[0]
    assert ids.shape[1] + room == 32
    (item,) = tokenise(tokenizer, [example("a long beginning " * 30 + "Mood:")], 32)
    assert ids[0].tolist() == list(item.prompt)
    assert mask.all()
    assert tokenizer.decode(ids[0]).endswith("Mood:")
    assert options["do_sample"] is False


def test_nothing_to_generate_gives_nothing(tokenizer):
    assert written(Writer(tokenizer, {}), tokenizer, []) == []


def test_generation_of_a_padded_batch_is_that_of_each_prompt_alone(backbones, tokenizer):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(backbones("qwen2")).double().eval()
    asked = [example("rose:"), example("the profit of the company rose in the quarter:")]
    items = tokenise(tokenizer, asked, 64)
    together = evaluate._generate_batch(model, tokenizer, items)
    alone = [evaluate._generate_batch(model, tokenizer, [item])[0] for item in items]
    assert together == alone
