"""Local training against closed forms on a bigram model, and against plain transformers."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch.nn.functional import cross_entropy

from fedbench import train as training
from fedbench.tokens import Answered
from fedbench.train import (
    Accumulated,
    LocalObjective,
    batches_of_turn,
    examples_of_turn,
    learning_rate,
    plain,
    train,
)
from tests import bigram

PLAIN = LocalObjective()


@pytest.mark.parametrize(
    ("count", "passes", "turns"),
    [(1, 1, 1), (7, 3, 1), (10, 5, 5), (10, 1, 3), (7, 2, 5), (3, 1, 10), (13, 5, 7), (97, 3, 11)],
)
def test_over_all_turns_every_example_is_processed_exactly_passes_times(count, passes, turns):
    quota = count * (passes / turns)
    taken = [examples_of_turn(count, quota, turn, 0, "site") for turn in range(turns)]
    assert Counter(i for chosen in taken for i in chosen) == dict.fromkeys(range(count), passes)
    assert {len(chosen) for chosen in taken} <= {math.floor(quota), math.ceil(quota)}


def test_any_stretch_of_turns_is_even_to_within_one_pass():
    for upto in range(1, 12):
        counts = Counter(i for turn in range(upto) for i in examples_of_turn(9, 3.7, turn, 0))
        assert max(counts.values()) - min(counts[i] for i in range(9)) <= 1


def test_a_quota_below_one_takes_nothing_in_some_turns():
    taken = [examples_of_turn(3, 0.4, turn, 0) for turn in range(5)]
    assert sorted(map(len, taken)) == [0, 0, 0, 1, 1]


def test_turns_differ_by_site_and_seed_and_repeat_for_the_same():
    draws = [tuple(examples_of_turn(50, 50, 0, *key)) for key in ((0, "a"), (0, "b"), (1, "a"))]
    assert len(set(draws)) == 3
    assert draws[0] == tuple(examples_of_turn(50, 50, 0, 0, "a"))


def test_batches_hold_the_chosen_examples_each_as_often_as_chosen():
    lengths = [(7 * i) % 31 for i in range(100)]
    chosen = [*range(100), *range(0, 100, 3)]
    batches = batches_of_turn(lengths, chosen, 8, 0, "site", 0)
    assert Counter(i for batch in batches for i in batch) == Counter(chosen)
    assert Counter(map(len, batches))[8] == len(chosen) // 8
    assert max(map(len, batches)) == 8


def test_batches_hold_sequences_of_similar_length():
    lengths = [(7 * i) % 31 for i in range(64)]
    batches = batches_of_turn(lengths, range(64), 8, 0)
    spread = [max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in batches]
    assert sum(spread) / len(spread) < 31 / 4


def test_batches_come_in_shuffled_order():
    lengths = list(range(80))
    first = [batches_of_turn(lengths, range(80), 8, seed)[0][0] for seed in range(8)]
    assert len(set(first)) > 3


def test_no_examples_make_no_batches():
    assert batches_of_turn([], [], 8, 0) == []


def test_the_learning_rate_warms_up_and_then_falls_as_a_cosine():
    config = bigram.config(learning_rate=2.0, warmup=0.2)
    assert learning_rate(config, 0.1) == pytest.approx(1.0)
    assert learning_rate(config, 0.2) == pytest.approx(2.0)
    assert learning_rate(config, 0.6) == pytest.approx(1.0)
    assert learning_rate(config, 1.0) == pytest.approx(0.0)


def test_a_constant_learning_rate_only_warms_up():
    config = bigram.config(learning_rate=2.0, warmup=0.2, schedule="constant")
    assert [learning_rate(config, p) for p in (0.05, 0.2, 1.0)] == pytest.approx([0.5, 2.0, 2.0])


def test_without_warm_up_the_first_rate_is_the_full_one():
    assert learning_rate(bigram.config(learning_rate=2.0, warmup=0), 0.0) == 2.0


@pytest.fixture
def rates(monkeypatch):
    """Learning rates of all steps taken, in order."""
    seen = []
    original = torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        seen.append(self.param_groups[0]["lr"])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    return seen


def test_the_schedule_follows_global_progress_over_rounds(rates):
    config = bigram.config(warmup=0.1)
    batches = [bigram.sequences((1, 2))] * 3
    train(bigram.Bigram(), batches * 2, config, (0.0, 1.0), PLAIN)
    whole, rates[:] = list(rates), []
    train(bigram.Bigram(), batches, config, (0.0, 0.5), PLAIN)
    train(bigram.Bigram(), batches, config, (0.5, 1.0), PLAIN)
    assert rates == pytest.approx(whole)


def test_every_step_moves_the_model_also_the_last_of_a_run(rates):
    train(bigram.Bigram(), [bigram.sequences((1, 2))], bigram.config(), (0.8, 1.0), PLAIN)
    assert rates[0] > 0


def test_the_loss_is_the_mean_over_answer_and_end_tokens():
    model = bigram.Bigram()
    with torch.no_grad():
        model.table[2, 3] = math.log(4)  # P(3 | 2) = 4 / (4 + 6)
    # prompt 1 2, answer 3, end 0: only 3 after 2 and 0 after 3 are asked for, nothing after 1
    report = train(model, [[Answered((1, 2, 3, 0), 2)]], bigram.config(), (0, 1), PLAIN)
    assert report.loss == pytest.approx((-math.log(0.4) + math.log(7)) / 2)


def test_only_asked_positions_give_a_gradient():
    model = bigram.Bigram()
    plain(model, _batch([Answered((1, 2, 3, 0), 2)]))
    touched = [i for i in range(bigram.SIZE) if model.table.grad[i].abs().sum() > 0]
    assert touched == [2, 3]
    # softmax minus one-hot, over two tokens
    uniform = torch.full((bigram.SIZE,), 1 / bigram.SIZE)
    expected = (uniform - torch.eye(bigram.SIZE)[3]) / 2
    torch.testing.assert_close(model.table.grad[2], expected)


def _batch(sequences):
    from fedbench.forward import collate

    return collate([s.tokens for s in sequences], [s.start for s in sequences], "cpu")


def test_the_loss_of_a_padded_batch_is_that_of_plain_transformers(backbones):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(backbones("llama")).double()
    sequences = [
        Answered((9, 8, 7, 6, 5, 1), 4),
        Answered((9, 8, 1), 1),
        Answered((3, 4, 5, 6, 7, 8, 9, 10, 1), 7),
    ]
    found = plain(model, _batch(sequences))
    gradient = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()

    width = max(len(s.tokens) for s in sequences)
    ids = torch.tensor([[*s.tokens, *[2] * (width - len(s.tokens))] for s in sequences])
    labels = torch.full_like(ids, -100)
    mask = torch.zeros_like(ids)
    for row, s in enumerate(sequences):
        labels[row, s.start : len(s.tokens)] = torch.tensor(s.tokens[s.start :])
        mask[row, : len(s.tokens)] = 1
    logits = model(input_ids=ids, attention_mask=mask).logits
    loss = cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    loss.backward()
    assert found == pytest.approx(loss.item(), rel=1e-10)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradient[name], parameter.grad, rtol=1e-7, atol=1e-12)


def test_one_step_is_one_step_of_adamw():
    config = bigram.config(warmup=0, schedule="constant", weight_decay=0.0)
    model = bigram.Bigram()
    train(model, [bigram.sequences((1, 2))], config, (0, 1), PLAIN)
    # the first step of Adam moves every touched weight by its rate, against the gradient's sign
    assert model.table[1, 2].item() == pytest.approx(0.1, rel=1e-4)
    assert model.table[1, 3].item() == pytest.approx(-0.1, rel=1e-4)
    assert model.table[4].abs().sum() == 0


def test_the_optimizer_starts_empty_at_every_call():
    config = bigram.config(warmup=0, schedule="constant")
    model, batches = bigram.Bigram(), [bigram.sequences((1, 2))] * 2
    train(model, batches, config, (0, 0.5), PLAIN)
    train(model, batches, config, (0.5, 1), PLAIN)
    again = bigram.Bigram()
    train(again, batches, config, (0, 0.5), PLAIN)
    copy = bigram.Bigram()
    copy.load_state_dict(again.state_dict())
    train(copy, batches, config, (0.5, 1), PLAIN)
    assert torch.equal(model.table, copy.table)
    straight = bigram.Bigram()
    train(straight, batches * 2, config, (0, 1), PLAIN)
    assert not torch.equal(model.table, straight.table)


def test_frozen_parts_stay_as_received_and_the_rest_moves():
    model = bigram.Bigram()
    frozen = LocalObjective(frozen=frozenset({"bias"}))
    train(model, [bigram.sequences((1, 2))] * 3, bigram.config(weight_decay=0.1), (0, 1), frozen)
    assert model.bias.abs().sum() == 0
    assert model.table.abs().sum() > 0


def test_frozen_parts_do_not_count_in_the_clipping_of_the_rest():
    config = bigram.config(gradient_clip=1e-9, warmup=0, schedule="constant")
    sizes = []
    for objective in (PLAIN, LocalObjective(frozen=frozenset({"bias"}))):
        model = bigram.Bigram()
        seen = _clipped_norm(model, config, objective)
        sizes.append(seen)
    assert sizes[0] < sizes[1] == pytest.approx(1e-9, rel=1e-3)


def _clipped_norm(model, config, objective):
    """Norm of the table's gradient as the optimizer sees it."""
    seen = []
    original = torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        seen.append(model.table.grad.norm().item())
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        train(model, [bigram.sequences((1, 2))], config, (0, 1), objective)
    return seen[0]


def test_a_correction_is_added_to_the_gradient():
    """A correction that cancels the gradient leaves the model where it is."""
    model = bigram.Bigram()
    plain(model, _batch(bigram.sequences((1, 2))))
    cancel = {name: -p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    objective = LocalObjective(correction=cancel)
    train(model, [bigram.sequences((1, 2))], bigram.config(), (0, 1), objective)
    assert model.table.abs().sum() == 0
    assert model.bias.abs().sum() == 0


def test_the_report_says_the_sum_of_the_rates_that_were_used():
    """Without schedule or warm-up every step has the same rate."""
    config = bigram.config(learning_rate=0.01, warmup=0, schedule="constant")
    report = train(bigram.Bigram(), [bigram.sequences((1, 2))] * 3, config, (0, 1), PLAIN)
    assert report.rates == pytest.approx(0.03)


def test_a_penalty_is_minimised_with_the_loss():
    """So strong a pull to zero as FedProx's keeps the model nearly where it was."""
    far, near = bigram.Bigram(), bigram.Bigram()
    batches = [bigram.sequences((1, 2))] * 20
    config = bigram.config(learning_rate=0.01, warmup=0)
    train(far, batches, config, (0, 1), PLAIN)
    pull = LocalObjective(penalty=lambda named: 100 * sum((p**2).sum() for p in named.values()))
    train(near, batches, config, (0, 1), pull)
    assert near.table.norm() < far.table.norm() / 3


def test_the_gradient_is_clipped_as_a_whole():
    model = bigram.Bigram()
    config = bigram.config(gradient_clip=1e-3, warmup=0, schedule="constant")
    assert _clipped_norm(model, config, PLAIN) < 1e-3


def test_a_gradient_of_ones_own_can_be_passed_in():
    def nothing(model, sequences):
        return Accumulated(torch.tensor(7.0), 3)

    model = bigram.Bigram()
    report = train(model, [bigram.sequences((1, 2))], bigram.config(), (0, 1), PLAIN, nothing)
    assert (report.loss, report.flops) == (7.0, 3)
    assert model.table.abs().sum() == 0


def test_the_report_counts_steps_examples_and_tokens_read():
    batches = [bigram.sequences((1, 2), (3, 4)), bigram.sequences((5, 6))]
    report = train(bigram.Bigram(), batches, bigram.config(), (0, 1), PLAIN)
    assert (report.steps, report.examples, report.tokens) == (2, 3, 6)


def test_no_batches_are_no_training():
    model = bigram.Bigram()
    report = train(model, [], bigram.config(), (0, 1), PLAIN)
    assert (report.steps, report.loss) == (0, 0.0)
    assert model.table.abs().sum() == 0


def test_training_learns_what_it_is_shown():
    model = bigram.Bigram()
    shown = bigram.sequences((1, 2), (3, 4))
    config = bigram.config(learning_rate=0.3)
    report = train(model, [shown] * 60, config, (0, 1), PLAIN)
    assert plain(model, _batch(shown)) < 0.05 < report.loss
    assert not model.training


@pytest.mark.parametrize(("dropout", "shares"), [(0.0, True), (0.1, False)])
def test_a_common_prefix_is_shared_unless_there_is_dropout(monkeypatch, dropout, shares):
    asked, original = [], training.collate

    def spy(*args, share):
        asked.append(share)
        return original(*args, share=share)

    monkeypatch.setattr(training, "collate", spy)
    config = bigram.config(dropout=dropout)
    train(bigram.Bigram(), [bigram.sequences((1, 2))], config, (0, 1), PLAIN)
    assert asked == [shares]
