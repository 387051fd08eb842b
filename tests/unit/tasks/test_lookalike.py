"""Look-alikes: fair to guessers, unseen at test, spread over owners, the same everywhere."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fedbench.config import PartitionConfig
from fedbench.errors import FedbenchError
from fedbench.partition import make_partition
from fedbench.tasks import SPLITS, Task, load_task
from fedbench.tasks.lookalike import GENERATORS, vocabulary
from fedbench.tasks.lookalike.words import invent

from .conftest import LABELLED, Describe

NAMES = ("lookalike_medqa", "lookalike_medmcqa", "lookalike_fpb", "lookalike_fiqa")


@pytest.fixture(params=NAMES)
def task(request: pytest.FixtureRequest) -> Task:
    return load_task(request.param)


def test_enough_test_items_and_a_small_training_set(task: Task) -> None:
    assert len(task.of_split("test")) >= 400
    assert len(task.of_split("train")) <= 600
    assert len(task.of_split("validation")) >= 40
    assert max(len(e.prompt.split()) for e in task.examples) <= 20


def test_it_says_what_it_is(task: Task) -> None:
    assert task.synthetic
    assert "never evidence" in task.note
    assert task.title.startswith("Look-alike of ")


def test_test_items_ask_what_training_taught_in_wordings_it_did_not_use(task: Task) -> None:
    taught = {e.cluster for e in task.of_split("train")}
    assert {e.cluster for e in task.of_split("test")} == taught
    assert not {e.prompt for e in task.of_split("train")} & {
        e.prompt for e in task.of_split("test")
    }
    assert task.audit["train_test_overlap_groups"] == 0


def test_who_ignores_the_question_is_at_chance(task: Task) -> None:
    """The best fixed preference among answers, fitted on training data, gains nothing."""
    count = Counter(e.choices[e.gold] for e in task.of_split("train"))
    for split in ("validation", "test"):
        items = task.of_split(split)
        hits = [e.choices[e.gold] == max(e.choices, key=lambda c: count[c]) for e in items]
        chance = 1 / len(items[0].choices)
        slack = 2.6 * np.sqrt(chance * (1 - chance) / len(items))
        assert abs(np.mean(hits) - chance) < slack


def test_wrong_options_are_right_elsewhere(task: Task) -> None:
    right = {e.choices[e.gold] for e in task.of_split("train")}
    assert {choice for e in task.examples for choice in e.choices} == right


@pytest.mark.parametrize("column", ["topic", "attribute"])
def test_facts_are_spread_over_owners_and_topics(task: Task, column: str) -> None:
    held = Counter(getattr(e, column) for e in task.of_split("train"))
    assert len(held) == 8
    assert max(held.values()) < 2 * min(held.values())


def test_a_natural_partition_gives_every_fact_to_one_site(task: Task) -> None:
    partition = make_partition(task.examples, PartitionConfig(kind="natural", sites=4), 0)
    cluster = {e.id: e.cluster for e in task.examples}
    held = [{cluster[i] for s in SPLITS for i in by[s]} for by in partition.sites.values()]
    total = len(set.union(*held))
    if task.name != "lookalike_fiqa":  # a sentence about two companies speaks of two cues
        assert sum(map(len, held)) == total
    assert all(len(clusters) < total / 2 for clusters in held)


def test_the_content_is_the_same_on_every_machine() -> None:
    digests = {name: load_task(name).digest[:16] for name in NAMES}
    assert digests == {
        "lookalike_medqa": "f35e3e8ac1063895",
        "lookalike_medmcqa": "3c2b6c68781b401b",
        "lookalike_fpb": "d3aac1468e587948",
        "lookalike_fiqa": "89a7fde5adb26523",
    }


def test_another_seed_invents_another_world() -> None:
    for generator in GENERATORS.values():
        assert not set(generator.names({"seed": 1})) & set(generator.names({"seed": 2}))
        assert list(generator.rows({"seed": 1})) == list(generator.rows({"seed": 1}))


def test_spread_moves_examples_to_other_owners() -> None:
    for name, column, fact in (
        ("newswire", "newsroom", "cue"),
        ("pharmacopoeia", "institution", "fact"),
    ):
        owners: dict[str, set[str]] = {}
        for _, row in GENERATORS[name].rows({"seed": 1, "spread": 0.0}):
            owners.setdefault(row[fact], set()).add(row[column])
        assert np.mean([len(found) for found in owners.values()]) > 3


def test_paired_sentences_ask_for_each_company() -> None:
    rows = [row for _, row in GENERATORS["newswire"].rows({"seed": 1, "paired": 1.0})]
    asked = Counter(row["sentence"] for row in rows)
    assert set(asked.values()) <= {2, 4}
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row["sentence"], set()).add(row["label"])
    assert np.mean([len(found) == 2 for found in labels.values()]) > 0.3


def test_the_vocabulary_holds_every_text_and_name() -> None:
    texts, names = vocabulary()
    assert {e.prompt for e in load_task("lookalike_fpb").examples} <= set(texts)
    answers = {c.strip() for e in load_task("lookalike_medqa").examples for c in e.choices}
    assert answers <= set(names)


def test_invented_words_are_distinct_and_avoid_what_is_taken() -> None:
    random = np.random.default_rng(0)
    words = invent(random, 500, "in")
    assert len(set(words)) == 500
    again = invent(np.random.default_rng(0), 500, "in", taken=words)
    assert not set(words) & set(again)


@pytest.mark.parametrize(
    ("name", "knobs", "message"),
    [
        ("pharmacopoeia", {"relations": "drugs"}, "drugs is not known .allowed: drug, cause"),
        ("pharmacopoeia", {"relations": ""}, "nothing is not known"),
        ("pharmacopoeia", {"answers": 3}, "answers = 3: a question has 4 options"),
        ("pharmacopoeia", {"owners": 0}, "owners = 0 is no size"),
        ("pharmacopoeia", {"diseases": 10**9}, "too many"),
        ("newswire", {"spread": 1.5}, "spread = 1.5 is no share"),
        ("newswire", {"frames": "many"}, "do not fit"),
    ],
)
def test_a_knob_out_of_range_is_one_sentence(
    describe: Describe, name: str, knobs: dict[str, object], message: str
) -> None:
    told = {"name": name, "knobs": {"seed": 1, **knobs}}
    with pytest.raises(FedbenchError, match=message):
        load_task(describe(LABELLED, generator=told, layouts=None))


def test_wrong_knobs_are_named(describe: Describe) -> None:
    told = {"name": "newswire", "knobs": {"seed": 1, "moods": 4}}
    with pytest.raises(FedbenchError, match=r"task tickets: the knobs of newswire .*'moods'"):
        load_task(describe(LABELLED, generator=told))
    with pytest.raises(FedbenchError, match="there is no generator 'oracle'"):
        load_task(describe(LABELLED, generator={"name": "oracle", "knobs": {}}))
