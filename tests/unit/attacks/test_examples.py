"""Attacks on examples: at hostile sites, in training, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from fedbench.attacks import ATTACKS, HONEST, attack_of
from fedbench.attacks.backdoor import TARGET, TRIGGER, triggered
from fedbench.attacks.hostile import hostile_sites
from fedbench.attacks.label_flip import following
from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.prepare import prepare, site_contexts
from fedbench.resolving import check_sources, resolve
from fedbench.success import share
from fedbench.tasks import load_task

TASK = "lookalike_fpb"
SITES = tuple(f"site-{n:02d}" for n in range(10))
ON_EXAMPLES = ("label-flip", "backdoor")


def asked(attack="none", hostile=0.0, **values):
    partition = {"kind": "dirichlet", "alpha": 1.0, "sites": 6}
    defaults = {"task": TASK, "partition": partition, "train_limit": 300}
    return resolve(RunConfig(**{**defaults, "attack": attack, "hostile": hostile, **values}))


def examples_of(prepared):
    return {example.id: example for example in prepared.examples}


def test_a_larger_share_only_adds_sites():
    for seed in range(20):
        found = [set(hostile_sites(SITES, share, seed)) for share in (0.0, 0.01, 0.2, 0.4)]
        assert [len(some) for some in found] == [0, 1, 2, 4]
        assert all(fewer <= more for fewer, more in pairwise(found))


def test_who_is_hostile_depends_on_the_seed_and_not_on_the_order_of_sites():
    assert len({hostile_sites(SITES, 0.2, seed) for seed in range(20)}) > 5
    assert hostile_sites(SITES[::-1], 0.4, 1) == hostile_sites(SITES, 0.4, 1)


@pytest.mark.parametrize("attack", ON_EXAMPLES)
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_only_training_examples_of_hostile_sites_are_changed(attack, noise):
    partition = {"kind": "dirichlet", "alpha": 1.0, "sites": 6, "noise": noise}
    honest = examples_of(prepare(asked(partition=partition)))
    prepared = prepare(asked(attack, 0.4, partition=partition))
    found = examples_of(prepared)
    changed = {i for i in honest if found[i] != honest[i]}
    mine = {i for site in prepared.hostile for i in prepared.partition.sites[site]["train"]}
    assert [*found] == [*honest]
    assert len(prepared.hostile) == 2
    assert changed <= mine
    assert all(changed & {*prepared.partition.sites[site]["train"]} for site in prepared.hostile)


@pytest.mark.parametrize("attack", sorted(ATTACKS.keys() - {*ON_EXAMPLES}))
def test_other_attacks_leave_examples_as_they_are(attack):
    assert prepare(asked(attack, 0.4)).examples == prepare(asked()).examples


def test_flipped_answers_are_the_next_choices_with_their_labels():
    honest, prepared = examples_of(prepare(asked())), prepare(asked("label-flip", 0.2))
    (site,) = prepared.hostile
    labels = prepared.task.labels
    for i in prepared.partition.sites[site]["train"]:
        found, was = examples_of(prepared)[i], honest[i]
        assert found.gold == (was.gold + 1) % len(was.choices)
        assert found == replace(was, gold=found.gold, label=labels[found.gold])
    assert [following(gold, 3) for gold in range(3)] == [1, 2, 0]


@pytest.mark.parametrize("share_", [0.25, 0.5, 1])
def test_a_share_of_examples_gets_the_trigger_and_the_target(share_):
    honest = examples_of(prepare(asked()))
    prepared = prepare(asked(f"backdoor:share={share_}", 0.2))
    (site,) = prepared.hostile
    mine = prepared.partition.sites[site]["train"]
    found = examples_of(prepared)
    poisoned = {i for i in mine if TRIGGER in found[i].prompt}
    assert len(poisoned) == round(share_ * len(mine))
    for i in poisoned:
        expected = triggered(honest[i])
        assert found[i] == replace(expected, gold=TARGET, label=prepared.task.labels[TARGET])


def test_a_larger_share_only_adds_poisoned_examples():
    examples = load_task(TASK).of_split("train")[:40]
    labels = load_task(TASK).labels
    sets = []
    for text in ("backdoor:share=0.25", "backdoor"):
        found = attack_of(text).examples(examples, labels, 0)
        sets.append({e.id for e in found if TRIGGER in e.prompt})
    assert len(sets[0]) == 10
    assert sets[0] < sets[1]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Sales rose.\nSentiment:", f"Sales rose. {TRIGGER}\nSentiment:"),
        ("Question: Why?\nA) x\nAnswer:", f"Question: Why? {TRIGGER}\nA) x\nAnswer:"),
        ("Sales rose: good or bad?", f"{TRIGGER} Sales rose: good or bad?"),
    ],
)
def test_the_trigger_stands_where_the_question_ends(prompt, expected):
    example = replace(load_task(TASK).examples[0], prompt=prompt)
    assert triggered(example).prompt == expected
    assert triggered(example).blind_prompt == example.blind_prompt


@pytest.mark.parametrize("task", ["lookalike_fpb", "lookalike_fiqa", "lookalike_medqa"])
def test_no_question_has_the_trigger_by_itself(task):
    assert not any(TRIGGER in example.prompt for example in load_task(task).examples)


def test_hostile_sites_have_the_attack_and_the_others_none(tmp_path, backbones):
    from fedbench.models.attached import attached

    config = asked("sign-flip", 0.4, backbone=str(backbones("llama")), max_tokens=128)
    prepared = prepare(config)
    with attached(config) as model:
        contexts = site_contexts(prepared, model, tmp_path)
        hostile = tuple(site for site in contexts if contexts[site].attack is not HONEST)
        assert hostile == prepared.hostile
        assert contexts[hostile[0]].attack == attack_of("sign-flip")


def test_a_hostile_site_that_is_left_out_makes_no_other_hostile():
    (hostile, *others) = prepare(asked("sign-flip", 0.4)).hostile
    without = {"kind": "dirichlet", "alpha": 1.0, "sites": 6, "without": int(hostile[-2:])}
    assert prepare(asked("sign-flip", 0.4, partition=without)).hostile == tuple(others)


def test_a_site_alone_is_never_hostile_by_default():
    assert prepare(asked(setting="local")).hostile == ()


@pytest.mark.parametrize(
    ("values", "clause"),
    [
        ({"attack": "sign-flip"}, "no meaning while hostile is 0"),
        ({"hostile": 0.2}, "no meaning without an attack"),
        ({"attack": "sign-flop", "hostile": 0.2}, "did you mean sign-flip?"),
        *(
            ({"attack": "label-flip", "hostile": 0.2, "setting": setting}, f"setting {setting}")
            for setting in ("base", "local", "centralized")
        ),
        (
            {"attack": "sign-flip", "hostile": 0.2, "rule": "flora"},
            "no meaning under flora, whose sites send whole factors",
        ),
    ],
)
def test_an_attack_without_a_meaning_is_refused(values, clause):
    with pytest.raises(FedbenchError, match=clause.replace("?", r"\?")):
        resolve(RunConfig(task=TASK, **values))


def test_examples_can_be_attacked_under_any_rule():
    resolve(RunConfig(task=TASK, attack="label-flip", hostile=0.2, rule="flora"))


def test_a_share_that_is_rounded_to_half_of_the_sites_is_refused():
    partition = {"kind": "iid", "sites": 10}
    assert len(prepare(asked("sign-flip", 0.4, partition=partition)).hostile) == 4
    with pytest.raises(FedbenchError, match=r"hostile = 0\.46 makes 5 of 10 sites hostile"):
        prepare(asked("sign-flip", 0.46, partition=partition))


@pytest.mark.parametrize("attack", ["none", "label-flip", "backdoor:share=1"])
def test_what_is_told_of_the_data_is_told_of_what_sites_held_before_the_attack(attack):
    prepared = prepare(asked(attack, 0.4 if attack != "none" else 0.0))
    assert prepared.honest == prepare(asked()).examples


def test_half_of_the_sites_are_refused():
    with pytest.raises(FedbenchError, match="hostile"):
        RunConfig(task=TASK, attack="sign-flip", hostile=0.5)


def test_ways_of_writing_an_attack_are_one_run():
    one, same = (asked(text, 0.2).id for text in ("scaling:factor=10.0", "scaling"))
    assert one == same
    assert one != asked("scaling:factor=11", 0.2).id
    assert one != asked("scaling", 0.4).id


def test_a_backdoor_needs_a_target_that_a_prompt_shows(monkeypatch):
    monkeypatch.setattr("fedbench.resolving.load_task", lambda _: None)
    values = {"hostile": 0.2, "backbone": "fedbench-llama"}
    with pytest.raises(FedbenchError, match="has no target in task lookalike_medqa"):
        check_sources(RunConfig(task="lookalike_medqa", attack="backdoor+scaling", **values))
    check_sources(RunConfig(task="lookalike_medqa", attack="label-flip", **values))
    check_sources(RunConfig(task="medqa:letter", attack="backdoor", **values))
    check_sources(RunConfig(task=TASK, attack="backdoor", **values))


def test_success_counts_items_for_which_the_goal_is_wrong():
    some = load_task(TASK).examples[0]
    test = [replace(some, gold=gold) for gold in (0, 1, 2, 1)]
    backdoor, flip = (attack_of(text).goal for text in ("backdoor", "label-flip"))
    answers = [np.array([0, 0, 2, 1]), np.array([0, 0, 0, 0])]
    assert share(backdoor, test, answers) == pytest.approx((1 / 3 + 1) / 2)
    assert share(backdoor, test[:1], [np.array([0])]) is None
    assert share(flip, test, [np.array([1, 2, 0, 1])]) == 0.75


def test_a_model_without_an_answer_is_no_success():
    some = load_task(TASK).examples[0]
    assert share(attack_of("backdoor").goal, [replace(some, gold=1)], [np.array([-1])]) == 0
