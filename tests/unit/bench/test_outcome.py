"""A federation that failed on its way is refused, however fast it was."""

from __future__ import annotations

import math
import pickle
from types import SimpleNamespace

import pytest
import torch

from fedbench.bench import flower_app
from fedbench.bench.alone import run_alone
from fedbench.bench.outcome import (
    Outcome,
    check_same_end,
    counted_steps,
    fetch,
    leave,
    outcome,
)
from fedbench.bench.shapes import SHAPES, batches_of, config_of, make_backbone, sequences
from fedbench.bench.sides import OURS, PLAIN, TRAINER, ours, plain, trainer
from fedbench.errors import FedbenchError
from tests.unit.bench.conftest import SIZE, WORK

FIRST = {"a": torch.zeros(2), "b": torch.zeros(1)}
LAST = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([4.0])}


def _alone(who, change=2.0, losses=(8.0, 7.0), **rest):
    known = {"who": who, "size": "2M", "shape": "one-word answers", "rounds": 2, "steps": 80}
    return known | {"change": change, "losses": list(losses)} | rest


@pytest.mark.parametrize("side", [ours, plain, trainer])
def test_steps_are_counted_whatever_loop_makes_them(side):
    config = config_of(WORK)
    held = sequences(SHAPES["one-word answers"], WORK.steps * WORK.batch_size, "test")
    made = side(SIZE, config)
    with counted_steps() as counter:
        made.train(batches_of(held, config, "test"))
    made.train(batches_of(held, config, "test"))
    assert counter.steps == WORK.steps


def test_how_far_an_adapter_moved_is_taken_over_all_its_tensors():
    found = outcome(4, [2.0], FIRST, LAST)
    assert (found.steps, found.losses, found.change) == (4, [2.0], 5.0)
    assert found.digest != outcome(4, [2.0], FIRST, FIRST).digest


@pytest.mark.parametrize("final", [{}, FIRST, {"a": LAST["a"]}, {**LAST, "b": FIRST["b"] / 0}])
def test_an_adapter_that_did_not_move_or_is_not_there_is_refused(final, tmp_path):
    leave(outcome(4, [2.0], FIRST, final), tmp_path)
    with pytest.raises(FedbenchError, match="Flower made 4 steps and trained nothing"):
        fetch(tmp_path, "Flower", 4, 1)


def test_a_process_that_leaves_no_outcome_is_refused(tmp_path):
    with pytest.raises(FedbenchError, match="Flower ended without a word"):
        fetch(tmp_path, "Flower", 4, 1)


@pytest.mark.parametrize(("steps", "rounds"), [(8, 1), (4, 2)])
def test_other_steps_or_rounds_than_asked_for_are_refused(steps, rounds, tmp_path):
    leave(Outcome(4, [2.0], 1.0, ""), tmp_path)
    with pytest.raises(FedbenchError, match="made 4 steps in 1 rounds, not"):
        fetch(tmp_path, "Flower", steps, rounds)


def test_a_loss_that_is_no_number_is_refused(tmp_path):
    leave(Outcome(4, [math.nan], 1.0, ""), tmp_path)
    with pytest.raises(FedbenchError, match="trained nothing"):
        fetch(tmp_path, "ours", 4, 1)


@pytest.mark.parametrize("other", [{"change": 2.1}, {"losses": (8.0, 7.1)}])
def test_two_sides_that_trained_other_things_are_refused(other):
    with pytest.raises(FedbenchError, match="ours and Flower did not train the same"):
        check_same_end([_alone("ours"), _alone("Flower", **other)])


def test_sides_that_trained_the_same_pass_and_an_absent_one_is_no_side():
    absent = {"who": "Flower", "missing": "not installed"}
    check_same_end([_alone("ours"), absent, _alone("Trainer", change=2.0001)])
    check_same_end([_alone("ours"), _alone("Trainer", change=9.0, rounds=1, losses=(8.0,))])


def test_an_error_among_the_replies_of_flower_is_raised_with_its_reason():
    good = SimpleNamespace(has_error=lambda: False)
    bad = SimpleNamespace(has_error=lambda: True, error=SimpleNamespace(reason="no\n pickle"))
    assert flower_app.without_failure(iter([good, good])) == [good, good]
    with pytest.raises(FedbenchError, match="A client of Flower failed: no pickle"):
        flower_app.without_failure(iter([good, bad]))


def test_what_clients_of_flower_keep_between_rounds_can_be_sent_to_them():
    for kept in (flower_app._held, flower_app._model):
        assert pickle.loads(pickle.dumps(kept)) is kept


def test_every_side_does_the_same_federation(tmp_path):
    found = []
    for who in (OURS, PLAIN, TRAINER):
        folder = tmp_path / who.replace(" ", "-")
        make_backbone(SIZE).save_pretrained(folder)
        run_alone(str(folder), who, "one-word answers", 3, 2, WORK.steps, WORK.batch_size)
        same = {"who": who, "size": "2M", "shape": "one-word answers", "rounds": 3}
        found.append(same | fetch(folder, who, 3 * 2 * WORK.steps, 3))
    check_same_end(found)
