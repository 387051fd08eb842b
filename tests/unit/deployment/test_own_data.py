"""A site's own file: read as the description says, wherever that finds its own rows."""

from __future__ import annotations

import json
import shutil

import pytest

from fedbench.deployment.own_data import own_context, own_task, training_digest
from fedbench.errors import FedbenchError
from fedbench.tasks.load import load_own, load_task
from fedbench.tasks.specfile import read_spec
from tests import toys


@pytest.fixture
def task(tmp_path):
    return toys.make_task(tmp_path / "task")


def test_the_same_rows_elsewhere_are_the_same_examples(task, tmp_path):
    moved = tmp_path / "my rows.csv"
    shutil.copy(task.parent / "toy.csv", moved)
    (task.parent / "toy.csv").unlink()
    spec, own = own_task(task, moved)
    assert spec.name == own.name == "toy"
    assert sum(len(own.of_split(split)) for split in ("train", "validation", "test")) == 60
    shutil.copy(moved, task.parent / "toy.csv")
    assert load_task(str(task)).examples == own.examples
    assert training_digest(own) == training_digest(load_task(str(task)))


def test_a_file_of_another_kind_is_read_as_what_it_is(task, tmp_path):
    rows = (task.parent / "toy.csv").read_text(encoding="utf-8").splitlines()
    names = rows[0].split(",")
    told = [json.dumps(dict(zip(names, row.split(","), strict=True))) for row in rows[1:]]
    other = tmp_path / "rows.jsonl"
    other.write_text("\n".join(told), encoding="utf-8")
    assert own_task(task, other)[1].examples == own_task(task, task.parent / "toy.csv")[1].examples


def test_columns_are_renamed_as_the_first_layout_says(task, tmp_path):
    text = task.read_text(encoding="utf-8")
    task.write_text(text + "    rename: {report: text}\n", encoding="utf-8")
    rows = (task.parent / "toy.csv").read_text(encoding="utf-8").replace("text,", "report,", 1)
    (tmp_path / "own.csv").write_text(rows, encoding="utf-8")
    assert own_task(task, tmp_path / "own.csv")[1].of_split("train")


def test_a_shipped_task_takes_rows_of_ones_own_and_fetches_none(tmp_path):
    own = tmp_path / "own.csv"
    lines = [f"profit number {n} {'rose' if n % 2 else 'fell'},{n % 3 - 1}" for n in range(90)]
    own.write_text("\n".join(["sentence,label", *lines]), encoding="utf-8")
    spec, _ = read_spec("fpb")
    with pytest.raises(FedbenchError) as caught:
        load_own(spec, own)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["does not exist"]),
        ("", []),
        ("text,mood\nprofit rose,1\n", ["house"]),
        ("text,mood,house\nprofit rose,5,a\n", ["own.csv"]),
        ("text,mood,house\nprofit rose,1,a\n", []),
    ],
    ids=["missing", "empty", "column", "label", "few"],
)
def test_a_file_that_cannot_be_used_is_told_in_a_sentence(task, tmp_path, content, parts):
    path = tmp_path / "own.csv"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(FedbenchError) as caught:
        own_task(task, path)
    assert all(part in str(caught.value) for part in parts)


def test_a_site_with_fewer_examples_than_the_run_asks_for_takes_no_part(task, tmp_path):
    from fedbench.config import RunConfig

    _, own = own_task(task, task.parent / "toy.csv")
    run = RunConfig(task="toy", partition={"sites": 2, "minimum": 1000})
    with pytest.raises(FedbenchError, match=r"needs partition.minimum = 1000"):
        own_context(run, "site-00", own, None, tmp_path)
