"""The check of the corpus against the tasks, its record, and what the cards say of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json
from fedbench.pretraining import check as checking
from fedbench.pretraining.check import LOOKALIKES, REAL, question_text, vocabulary_hash
from fedbench.pretraining.corpus_file import write_documents
from fedbench.pretraining.disclosure import shared_section
from fedbench.pretraining.prepare import CORPUS, RECORD, TOKENIZER
from fedbench.pretraining.tokenizer import train_tokenizer
from fedbench.tasks import Task, load_task

BACKBONES = Path(__file__).parents[3] / "data" / "backbones"
QUESTION = "which of these nine words is the odd one"


@pytest.fixture(autouse=True)
def _no_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDBENCH_DATA", raising=False)
    monkeypatch.setattr(checking, "vocabulary", lambda: (["Zorblat fell."], ["Zorblat"]))


def corpus(folder: Path, *documents: str) -> Path:
    """Lay out a corpus that can be checked."""
    tokenizer = train_tokenizer(documents, size=300)
    (folder / TOKENIZER).write_text(tokenizer.to_str(), encoding="utf-8")
    write_documents(folder / CORPUS, documents)
    write_json(folder / RECORD, {"tokens": 1000})
    return folder


def dataset(prompt: str) -> Task:
    """Return a task that stands for a dataset and asks one question."""
    task = load_task("lookalike_medqa")
    return replace(task, name="fpb", examples=(replace(task.examples[0], prompt=prompt),))


@pytest.mark.parametrize("name", ["fedbench-llama", "fedbench-qwen2"])
def test_the_backbones_were_checked_against_the_lookalikes_of_today(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    checked = read_json(BACKBONES / name / RECORD)[LOOKALIKES]["vocabulary_sha256"]
    assert checked == vocabulary_hash(), (
        "The look-alikes have changed since the corpus was checked against them: run "
        "`python -m fedbench.pretraining check` and export both backbones again."
    )


def test_the_check_records_what_it_found(tmp_path: Path) -> None:
    corpus(tmp_path, "Which thing on earth causes rust?", "Rome fell.\nSentiment: negative")
    assert "none of 1 invented names, 1 of 65" in checking.check(tmp_path)
    record = read_json(tmp_path / RECORD)
    assert record["tokens"] == 1000
    assert record[LOOKALIKES]["templates_found"] == {"Which thing on earth causes {}?": 1}
    assert record[LOOKALIKES]["vocabulary_sha256"] == vocabulary_hash()
    assert record["prompt_formats"]["sentiment_prompt"]["documents"] == 1
    assert record["prompt_formats"]["sentiment_prompt"]["tokens"] > 3
    assert REAL not in record


def test_an_invented_name_in_the_corpus_is_recorded_and_refused(tmp_path: Path) -> None:
    corpus(tmp_path, "ZORBLAT rose.")
    with pytest.raises(FedbenchError, match="zorblat"):
        checking.check(tmp_path)
    assert read_json(tmp_path / RECORD)[LOOKALIKES]["names_found"] == ["zorblat"]


def test_a_whole_question_of_a_dataset_is_recorded_and_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus(tmp_path, f"He asked {QUESTION} out.")
    asked = dataset(f"Question: {QUESTION.capitalize()}?\nAnswer:")
    monkeypatch.setattr(checking, "_datasets", lambda: [asked])
    with pytest.raises(FedbenchError, match="whole texts of fpb"):
        checking.check(tmp_path)
    assert read_json(tmp_path / RECORD)[REAL]["fpb"]["whole_texts_found"] == [QUESTION]


def test_an_earlier_comparison_with_the_datasets_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus(tmp_path, "Rust.")
    with monkeypatch.context() as patch:
        patch.setattr(checking, "_datasets", lambda: [dataset(QUESTION)])
        checking.check(tmp_path)
    checking.check(tmp_path)
    assert read_json(tmp_path / RECORD)[REAL]["fpb"]["ngrams_checked"] == 2


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("Question: Why?\nHow?\nAnswer:", "Why?\nHow?"),
        ("Sales rose .\nSentiment:", "Sales rose ."),
        ("Sales rose .\nTarget: Oslo Bank\nSentiment:", "Sales rose ."),
    ],
)
def test_what_every_prompt_of_a_task_says_is_left_out(prompt: str, text: str) -> None:
    assert question_text(prompt) == text


def test_the_card_says_what_was_measured_and_what_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "has not been checked" in shared_section({"tokens": 1})
    corpus(
        tmp_path, "Which thing on earth causes rust?", "The odd one is out.\nSentiment: negative"
    )
    checking.check(tmp_path)
    told = shared_section(read_json(tmp_path / RECORD))
    assert "was not compared with MedQA" in told
    assert "was not measured" in told
    assert told.endswith("1 occur:\n\n- `Which thing on earth causes {}?` (places: 1)")
    monkeypatch.setattr(checking, "_datasets", lambda: [dataset("The odd one is out.")])
    checking.check(tmp_path)
    told = shared_section(read_json(tmp_path / RECORD))
    assert '"the odd one is out" (fpb)' in told
    assert "sentences of `fpb` are in the corpus" in " ".join(told.split())


def test_the_record_is_plain_json(tmp_path: Path) -> None:
    checking.check(corpus(tmp_path, "Rust."))
    assert json.loads((tmp_path / RECORD).read_text(encoding="utf-8"))["prompt_formats"]
