"""Tasks that are wrong on purpose: what is changed, what is not, and that the audit tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedbench.config import DEFECT
from fedbench.errors import FedbenchError
from fedbench.tasks import load_task, located
from fedbench.tasks.audit_lines import audit_lines
from fedbench.tasks.counts import asked_otherwise
from fedbench.tasks.defective import DEFECTIVE
from fedbench.tasks.defective.leaky_split import half
from fedbench.tasks.specfile import SPECS, read_spec, shipped_specs

from .conftest import CHOICE, LABELLED, Describe, labelled, questions, write_jsonl

TASK = "lookalike_fpb"


def ids(task, split):
    return {example.id for example in task.of_split(split)}


@pytest.mark.parametrize(
    ("defect", "share"), [("defect-leaky-tenth", 10), ("defect-leaky-half", 2)]
)
def test_test_items_take_the_place_of_training_rows_and_the_audit_counts_them(defect, share):
    right, wrong = load_task(TASK), load_task(f"{defect}:{TASK}")
    leaked = ids(wrong, "train") & ids(wrong, "test")
    assert len(wrong.of_split("train")) == len(right.of_split("train"))
    assert ids(wrong, "train") - leaked < ids(right, "train")
    assert len(ids(wrong, "train")) == len(ids(right, "train"))
    assert wrong.of_split("test") == right.of_split("test")
    assert wrong.of_split("validation") == right.of_split("validation")
    assert len(leaked) == -(-len(right.of_split("test")) // share)
    assert right.audit["train_test_overlap_groups"] == right.audit["near_repeats"] == 0
    assert wrong.audit["train_test_overlap_groups"] == len(leaked)
    assert wrong.audit["near_repeats"] == len(leaked)
    assert f"{len(leaked)} groups of" in audit_lines([f"{defect}:{TASK}"])[0]


def test_a_split_with_few_training_rows_leaks_no_more_than_it_has():
    rows = load_task(TASK).examples
    train = [e for e in rows if e.split == "train"][:5]
    rest = [e for e in rows if e.split != "train"]
    after = [e for e in half((*train, *rest)) if e.split == "train"]
    assert len(after) == len({e.id for e in after}) == 5
    assert {e.id for e in after} <= {e.id for e in rest if e.split == "test"}


def test_test_items_are_asked_otherwise_and_nothing_else_changes():
    right, wrong = load_task(TASK), load_task(f"defect-other-prompt:{TASK}")
    for split in ("train", "validation"):
        assert wrong.of_split(split) == right.of_split(split)
    for before, after in zip(right.of_split("test"), wrong.of_split("test"), strict=True):
        text = before.prompt.removesuffix("\nSentiment:")
        assert after.prompt == f"Question: {text}\nAnswer:"
        assert (after.id, after.choices, after.gold) == (before.id, before.choices, before.gold)
    count = len(wrong.of_split("test"))
    assert (asked_otherwise(right.examples), asked_otherwise(wrong.examples)) == (0, count)
    assert wrong.audit["train_test_overlap_groups"] == 0
    assert f"{count} test items ARE ASKED UNLIKE" in audit_lines([wrong.name])[0]


def test_rounds_are_judged_on_the_test_split_and_training_is_as_it_was():
    right, wrong = load_task(TASK), load_task(f"defect-best-round:{TASK}")
    assert ids(wrong, "validation") == ids(wrong, "test") == ids(right, "test")
    assert wrong.of_split("train") == right.of_split("train")
    assert wrong.audit["train_test_overlap_groups"] == right.audit["groups"]["test"]


@pytest.mark.parametrize("defect", DEFECTIVE)
def test_a_defective_task_says_so_in_its_name_title_note_and_digest(defect):
    right, wrong = load_task(TASK), load_task(f"{defect}:{TASK}")
    assert defect.startswith(DEFECT)
    assert wrong.name == f"{defect}:{TASK}"
    assert defect in wrong.title
    assert f"Wrong on purpose ({defect})." in wrong.note
    assert wrong.digest != right.digest
    assert wrong.synthetic


def test_a_task_without_a_defect_is_told_of_none():
    for spec in shipped_specs():
        if spec.generator:
            assert not any(word in audit_lines([spec.name])[0] for word in ("OUTSIDE IT", "UNLIKE"))


def test_prompts_that_end_as_they_like_are_not_said_to_be_asked_otherwise(
    tmp_path: Path, describe: Describe
) -> None:
    write_jsonl(tmp_path / "rows.jsonl", labelled())
    path = describe(LABELLED, prompt="Topic of:\n{text}")
    assert asked_otherwise(load_task(path).examples) == 0


def test_a_defect_goes_with_a_path_and_with_another_scoring(
    tmp_path: Path, describe: Describe
) -> None:
    write_jsonl(tmp_path / "train.jsonl", questions(60))
    write_jsonl(tmp_path / "test.jsonl", questions(20, start=100))
    path = describe(CHOICE)
    task = load_task(f"defect-leaky-half:{path}:letter")
    assert task.scoring == "letter"
    assert task.audit["train_test_overlap_groups"] == 10
    assert located("defect-leaky-half:task.yml:letter") == f"defect-leaky-half:{path}:letter"
    assert located(f"defect-leaky-half:{TASK}") == f"defect-leaky-half:{TASK}"


def test_no_defect_is_among_the_tasks_that_are_shipped_or_offered():
    assert not any(path.stem.startswith(DEFECT) for path in SPECS.iterdir())
    with pytest.raises(FedbenchError, match="There is no task 'defect-none:lookalike_fpb'") as told:
        read_spec("defect-none:lookalike_fpb")
    assert not any(defect in str(told.value) for defect in DEFECTIVE)
