"""The line that is told of a task before it is trained on."""

from __future__ import annotations

import re
from pathlib import Path

from fedbench.tasks.audit_lines import audit_lines

from .conftest import CHOICE, LABELLED, Describe, labelled, questions, write_jsonl


def test_a_task_is_told_once_with_its_copies_and_its_leaks(
    tmp_path: Path, describe: Describe
) -> None:
    write_jsonl(tmp_path / "train.jsonl", [*questions(40), *questions(2, start=100)])
    write_jsonl(tmp_path / "test.jsonl", questions(20, start=100))
    task = describe(CHOICE)
    (line,) = audit_lines([task, task])
    assert line.startswith(f"audit of {task}: 62 rows, 60 distinct; 2 copies dropped")


def test_what_repeats_a_test_item_and_is_kept_is_said_to_be_kept(
    tmp_path: Path, describe: Describe
) -> None:
    words = "the board of the company met on a cold Monday in May and then it went home with"
    rows = [{"text": f"{words} {word}", "label": "delay"} for word in "abcdefgh"]
    write_jsonl(tmp_path / "train.jsonl", [*labelled(40), *rows[1:]])
    write_jsonl(tmp_path / "test.jsonl", [*labelled(60)[40:], rows[0]])
    layouts = [{"files": {"train": "train.jsonl", "test": "test.jsonl"}}]
    (line,) = audit_lines([describe(LABELLED, layouts=layouts, near_repeats="keep")])
    assert re.search(r"[1-7] that nearly repeat a test item KEPT in training", line)


def test_a_task_that_cannot_be_loaded_says_why(describe: Describe) -> None:
    (line,) = audit_lines([describe(LABELLED)])
    assert "was not found" in line
