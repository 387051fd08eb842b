"""Whole runs with hostile sites, on a toy task and backbone."""

from __future__ import annotations

import numpy as np
import pytest

from fedbench.attacks.backdoor import TRIGGER
from fedbench.config import RunConfig
from fedbench.freshness import code_of
from fedbench.running import run


@pytest.fixture
def configure(backbones, toy_task):
    def of(attack, hostile, **values):
        defaults = {
            "task": toy_task,
            "backbone": str(backbones("llama")),
            "partition": {"kind": "iid", "sites": 3, "minimum": 2},
            "rounds": 2,
            "passes": 2,
            "batch_size": 8,
            "rank": 2,
            "max_tokens": 64,
            "generated": 0,
        }
        return RunConfig.model_validate(
            {**defaults, "attack": attack, "hostile": hostile, **values}
        )

    return of


def test_a_backdoor_that_is_learned_tells_its_success_with_and_without_the_trigger(configure):
    config = configure("backdoor:share=1+scaling:factor=3", 0.4, learning_rate=0.02, passes=16)
    found = run(config)
    told = found.metrics["attack"]
    items = found.items
    counted = items[items["gold"] != 0]
    assert told["n"] == len(counted) > 0
    assert told["success_without_trigger"] == (counted["prediction"] == 0).mean()
    assert 0 <= told["success"] <= 1
    assert len(told["hostile"]) == 1
    assert set(told["hostile"]) <= {row["site"] for row in found.sites if row["trained"]}


def test_flipped_labels_tell_how_many_items_are_answered_so(configure):
    found = run(configure("label-flip", 0.4))
    told, items = found.metrics["attack"], found.items
    assert told["n"] == len(items)
    assert told["success"] == (items["prediction"] == (items["gold"] + 1) % 2).mean()
    assert "success_without_trigger" not in told


@pytest.mark.parametrize("attack", ["label-flip", "backdoor:share=1"])
def test_an_attack_on_examples_moves_neither_the_baseline_nor_how_much_sites_differ(
    configure, attack
):
    honest, found = run(configure("none", 0.0)), run(configure(attack, 0.4))
    assert found.items["majority"].tolist() == honest.items["majority"].tolist()
    assert found.metrics["heterogeneity"] == honest.metrics["heterogeneity"]


def test_what_a_hostile_site_ends_with_itself_is_no_success(configure, monkeypatch):
    """Success is a mean over the adapters of honest sites alone."""
    counted = []
    monkeypatch.setattr(
        "fedbench.success.share", lambda goal, test, answers: counted.append(len(answers))
    )
    found = run(configure("label-flip", 0.4, own_passes=1))
    assert found.items["adapter"].nunique() == 3
    assert counted == [2]
    run(configure("backdoor", 0.4, own_passes=1))
    assert counted == [2, 2, 2]  # with the trigger and without it


def test_an_attack_without_a_goal_tells_who_was_hostile_and_a_run_without_one_nothing(configure):
    assert [*run(configure("sign-flip", 0.4)).metrics["attack"]] == ["hostile"]
    assert "attack" not in run(configure("none", 0.0)).metrics


def test_a_refused_site_is_named_in_every_round_of_the_record(configure):
    found = run(configure("not-a-number", 0.4))
    (hostile,) = found.metrics["attack"]["hostile"]
    assert [[*record["refused"]] for record in found.rounds] == [[hostile]] * 2


def test_the_code_of_the_attack_counts_and_that_of_other_attacks_does_not(configure, monkeypatch):
    from fedbench import freshness

    asked = {}
    monkeypatch.setattr(freshness, "fingerprint", lambda *roots: asked.setdefault("it", roots))
    code_of(configure("backdoor+scaling", 0.4))
    assert {"fedbench.attacks.backdoor", "fedbench.attacks.scaling"} <= {*asked["it"]}
    assert "fedbench.attacks.replay" not in asked["it"]


def test_success_is_asked_with_the_trigger_in_every_question(configure, monkeypatch, tokenizer):
    """A model is made up that knows the backdoor and nothing else."""

    def knowing(model, items, device, *, mean):
        texts = [tokenizer.decode(item.prompt) for item in items]
        return [np.array([0.0, -1.0 if TRIGGER in text else 1.0]) for text in texts]

    monkeypatch.setattr("fedbench.success.score", knowing)
    monkeypatch.setattr("fedbench.summary.score", knowing)
    told = run(configure("backdoor", 0.4)).metrics["attack"]
    assert (told["success"], told["success_without_trigger"]) == (1.0, 0.0)
