"""Small datasets on disk, written by the tests themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

LABELLED: dict[str, Any] = {
    "name": "tickets",
    "title": "Tickets",
    "domain": "support",
    "prompt": "{text}\nTopic:",
    "labels": ["refund", "delay"],
    "answer": {"field": "label"},
    "layouts": [{"files": {"all": "rows.jsonl"}}],
}
CHOICE: dict[str, Any] = {
    "name": "quiz",
    "title": "Quiz",
    "domain": "school",
    "prompt": {
        "text": "Question: {question}\nAnswer:",
        "letter": "Question: {question}\n{options}\nAnswer:",
    },
    "options": ["a", "b", "c"],
    "answer": {"field": "right", "kind": "index", "first": 1},
    "layouts": [{"files": {"train": "train.jsonl", "test": "test.jsonl"}}],
}


def labelled(count: int = 60) -> list[dict[str, Any]]:
    return [
        {"text": f"case {n} came late", "label": ("refund", "delay")[n % 2]} for n in range(count)
    ]


def questions(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {"question": f"what is {n}?", "a": f"{n}", "b": f"{n + 1}", "c": "none", "right": 1 + n % 3}
        for n in range(start, start + count)
    ]


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


Describe = Callable[..., str]


@pytest.fixture
def describe(tmp_path: Path) -> Describe:
    """Write a task's YAML file into ``tmp_path`` and return its path."""

    def write(base: Mapping[str, Any], **changes: Any) -> str:
        path = tmp_path / "task.yml"
        values = {k: v for k, v in {**base, **changes}.items() if v is not None}
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test of this folder finds data of the machine, or reaches the network."""
    monkeypatch.delenv("FEDBENCH_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
