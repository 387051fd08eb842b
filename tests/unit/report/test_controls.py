"""Controls of the look-alikes: what is run for them, on which generator seeds."""

from __future__ import annotations

import pytest

from fedbench.report import controls
from fedbench.tasks import load_task

TASKS = ("lookalike_fiqa", "lookalike_fpb", "lookalike_medmcqa", "lookalike_medqa")


@pytest.mark.parametrize("task", TASKS)
def test_another_generator_seed_is_another_task_of_the_same_size(task):
    shipped, fresh = load_task(task), load_task(controls._variant(task, 9011))
    assert fresh.digest != shipped.digest
    assert {e.group for e in fresh.examples}.isdisjoint(e.group for e in shipped.examples)
    assert len(fresh.of_split("test")) >= 400


@pytest.mark.parametrize("task", TASKS)
def test_plenty_has_more_training_examples_of_the_same_facts(task):
    fresh = load_task(controls._variant(task, 9011))
    plenty = load_task(controls._variant(task, 9011, plenty=True))
    assert len(plenty.of_split("train")) > len(fresh.of_split("train"))
    assert {e.cluster for e in plenty.examples} == {e.cluster for e in fresh.examples}


def test_every_setting_is_run_with_the_tuned_values_on_the_uneven_partition():
    planned = controls._controls("smoke", "lookalike_fpb", 9011, full=True)
    assert [c.setting for c in planned.spread] == ["base", "local", "federated", "centralized"]
    assert {c.partition.kind for c in planned.spread if c.partition.sites > 1} == {"dirichlet"}
    assert {c.labels for c in planned.shuffled} == {"shuffled"}
    assert len({c.seed for c in planned.shuffled}) == 3
    assert {c.seed for c in planned.spread} == {0}
    assert {c.setting for c in planned.plenty} == {"local", "federated"}
    assert {c.partition.kind for c in planned.plenty} == {"iid"}


def test_only_the_first_seed_gets_the_negative_and_the_dose_control():
    planned = controls._controls("smoke", "lookalike_fpb", 9012, full=False)
    assert not planned.shuffled
    assert not planned.plenty
