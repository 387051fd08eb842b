"""Noisy answers and dialects: decided by who holds an example, and the same in every setting."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from fedbench.config import PartitionConfig, RunConfig
from fedbench.partition import make_partition
from fedbench.prepare import holdings, prepare
from fedbench.resolving import resolve
from fedbench.rewriting import noisy_sites, rewritten, wrong_answers
from fedbench.tasks import load_task
from fedbench.tasks.lookalike import reworded

TASK = "lookalike_fpb"
HELD = {"kind": "dirichlet", "alpha": 1.0, "sites": 6}
NOISY = PartitionConfig(**HELD, noise=0.4)


def wrong_in(config, seed=0, examples=None, task=TASK):
    """Wrong answers, the examples and the partition."""
    examples = list(load_task(task).examples if examples is None else examples)
    partition = make_partition(examples, config, seed)
    return wrong_answers(examples, partition, config, seed), examples, partition


def prepared(setting, partition, seed=0, task=TASK):
    config = RunConfig(task=task, setting=setting, seed=seed, partition=partition)
    return prepare(resolve(config))


def test_no_noise_and_one_dialect_change_nothing():
    config = PartitionConfig(**HELD)
    wrong, examples, partition = wrong_in(config)
    assert wrong == {}
    assert noisy_sites(partition, config, 0) == ()
    assert list(rewritten(load_task(TASK), examples, partition, 1, wrong)) == examples


@pytest.mark.parametrize("task", [TASK, "lookalike_medqa"])
def test_a_noisy_site_has_its_share_of_wrong_training_answers_and_no_others(task):
    wrong, examples, partition = wrong_in(NOISY, task=task)
    of, noisy = {e.id: e for e in examples}, noisy_sites(partition, NOISY, 0)
    assert len(noisy) == 3
    for site, held in partition.sites.items():
        share = NOISY.noise if site in noisy else 0
        assert len(wrong.keys() & set(held["train"])) == round(share * len(held["train"]))
    assert {of[i].split for i in wrong} == {"train"}
    assert all(0 <= gold < len(of[i].choices) and gold != of[i].gold for i, gold in wrong.items())


def test_all_wrong_choices_are_equally_likely():
    config = PartitionConfig(sites=1, noise=0.99)
    for task, others in ((TASK, 2), ("lookalike_medqa", 3)):
        steps = Counter()
        for seed in range(4):
            wrong, examples, _ = wrong_in(config, seed, task=task)
            of = {e.id: e for e in examples}
            steps += Counter((gold - of[i].gold) % len(of[i].choices) for i, gold in wrong.items())
        expected = steps.total() / others
        assert set(steps) == set(range(1, others + 1))
        assert all(abs(n - expected) < 4 * expected**0.5 for n in steps.values())


def test_the_order_of_examples_does_not_change_who_is_wrong():
    wrong, examples, _ = wrong_in(NOISY)
    shuffled = list(examples)
    random.Random(3).shuffle(shuffled)
    assert wrong_in(NOISY, examples=shuffled)[0] == wrong


def test_more_noise_and_more_noisy_sites_add_to_the_wrong_answers():
    some = wrong_in(NOISY)[0]
    for more in ({"noise": 0.6}, {"noisy": 1.0}):
        assert some.items() < wrong_in(NOISY.model_copy(update=more))[0].items()
    assert wrong_in(NOISY, seed=1)[0].keys() != some.keys()


def test_at_least_one_site_is_noisy():
    config = PartitionConfig(sites=3, noise=0.2, noisy=0.01)
    _, _, partition = wrong_in(config)
    assert len(noisy_sites(partition, config, 0)) == 1


def test_a_site_that_does_not_train_is_not_noisy():
    config = NOISY.model_copy(update={"noisy": 1.0, "minimum": 60, "alpha": 0.3})
    wrong, _, partition = wrong_in(config)
    assert partition.too_small
    assert noisy_sites(partition, config, 0) == partition.trained
    assert wrong.keys().isdisjoint(
        i for site in partition.too_small for i in partition.sites[site]["train"]
    )


@pytest.mark.parametrize("task", [TASK, "lookalike_medqa"])
def test_the_class_of_a_wrong_answer_is_that_of_its_choice(task):
    told = prepared("federated", NOISY, task=task)
    labels = told.task.labels
    assert told.wrong
    assert all(e.label == labels[e.gold] for e in told.examples)


def test_every_setting_trains_on_the_same_wrong_answers():
    federated, local, centralized = (
        prepared(setting, NOISY) for setting in ("federated", "local", "centralized")
    )
    assert federated.examples == local.examples == centralized.examples
    assert federated.wrong == centralized.wrong != frozenset()
    assert len(centralized.partition.sites) == 1
    true = prepared("centralized", PartitionConfig(**HELD))
    assert true.examples != centralized.examples
    for split in ("validation", "test"):
        assert true.of_split(split) == centralized.of_split(split)


def test_dialects_are_spoken_in_turn_and_every_setting_hears_the_same():
    config = PartitionConfig(**HELD, dialects=3)
    told = {s: prepared(s, config) for s in ("base", "local", "federated", "centralized")}
    assert len({one.examples for one in told.values()}) == 1
    original = {e.id: e for e in load_task(TASK).examples}
    example = {e.id: e for e in told["federated"].examples}
    assert example.keys() == original.keys()
    for number, held in enumerate(told["federated"].partition.sites.values()):
        for i in (i for ids in held.values() for i in ids):
            said = reworded("newswire", number % 3, original[i].prompt)
            assert example[i] == replace(original[i], prompt=said)


def test_noise_and_dialects_go_together():
    both = prepared("centralized", NOISY.model_copy(update={"dialects": 2}))
    noisy = prepared("centralized", NOISY)
    assert both.wrong == noisy.wrong
    assert [e.gold for e in both.examples] == [e.gold for e in noisy.examples]
    assert [e.prompt for e in both.examples] != [e.prompt for e in noisy.examples]


def test_a_record_says_how_many_answers_of_each_site_are_wrong():
    told = prepared("federated", NOISY)
    noisy = set(noisy_sites(told.partition, NOISY, 0))
    rows = holdings(told)
    assert {row["site"] for row in rows if row["n_wrong"]} == noisy
    assert sum(row["n_wrong"] for row in rows) == len(told.wrong)
    (pooled,) = holdings(prepared("centralized", NOISY))
    assert pooled["n_wrong"] == len(told.wrong)
    assert all("n_wrong" not in row for row in holdings(prepared("local", PartitionConfig())))


def test_leaving_out_a_noisy_site_leaves_the_others_as_noisy_as_they_are():
    whole = PartitionConfig(sites=8, noise=0.4)
    examples = load_task("lookalike_fpb").examples
    everyone = make_partition(examples, whole, 0)
    expected = noisy_sites(everyone, whole, 0)
    for number in range(8):
        fewer = whole.model_copy(update={"without": number})
        assert noisy_sites(make_partition(examples, fewer, 0), fewer, 0) == expected


def test_test_answers_stay_true_even_of_test_items_that_leak_into_training():
    task = load_task("defect-leaky-half:lookalike_fpb")
    config = PartitionConfig(sites=2, noise=0.5, noisy=1.0)
    partition = make_partition(task.examples, config, 0)
    wrong = wrong_answers(task.examples, partition, config, 0)
    found = list(rewritten(task, task.examples, partition, 1, wrong))
    pairs = [(e, t) for e, t in zip(task.examples, found, strict=True) if e.split != "train"]
    assert all(told.gold == example.gold for example, told in pairs)
    assert any(told.gold != e.gold for e, told in zip(task.examples, found, strict=True))
