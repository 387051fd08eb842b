"""What the corpus shares with the tasks: texts, names, sentence templates and prompt formats."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json
from fedbench.hashing import sha256_json
from fedbench.pretraining.overlap import NameFinder, TextFinder, read_corpus
from fedbench.pretraining.prepare import CORPUS, RECORD, TOKENIZER
from fedbench.pretraining.templates import TemplateFinder, sentence_templates
from fedbench.pretraining.tokenizer import encode
from fedbench.tasks import Task, load_task
from fedbench.tasks.lookalike import vocabulary

DATASETS = ("medqa", "medmcqa", "fpb", "fiqa_sa")
LOOKALIKES = "overlap_with_lookalike_tasks"
REAL = "overlap_with_datasets"
FORMATS = "prompt_formats"
_PATTERNS = {
    "sentiment_prompt": re.compile(r"\nSentiment:"),
    "sentiment_in_any_wording": re.compile(
        r"(?:Sentiment:|Answer:|Response:|sentence is)\s(?:negative|neutral|positive)\.?$"
    ),
    "question_prompt": re.compile(r"\AQuestion: (?s:.*)\nAnswer:"),
}
_FRAME = re.compile(r"\AQuestion: |(?:\nTarget: .*)?\n(?:Answer|Sentiment):\Z")


class FormatFinder:
    """Keeps the documents that have the prompt format of a task."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {name: [] for name in _PATTERNS}

    def read(self, document: str) -> None:
        """Look through one document."""
        for name, pattern in _PATTERNS.items():
            if pattern.search(document):
                self._found[name].append(document)

    def report(self, tokenizer: Tokenizer) -> dict[str, dict[str, int]]:
        """Count the documents and the tokens of every format."""
        return {
            name: {"documents": len(found), "tokens": len(encode(tokenizer, found))}
            for name, found in self._found.items()
        }


def check(folder: Path) -> str:
    """Compare the corpus with the tasks, record the result and say it in a line.

    The four datasets are compared where ``$FEDBENCH_DATA`` names the folder that holds them;
    elsewhere an earlier comparison stays in the record.

    Raises:
        FedbenchError: the corpus holds an invented name, or a whole text of a dataset.
    """
    record = read_json(folder / RECORD) | compare(folder, _datasets())
    write_json(folder / RECORD, record)
    _refuse_leaks(record)
    return _summary(record)


def compare(folder: Path, datasets: Sequence[Task]) -> dict[str, Any]:
    """Read the corpus once and return what it shares with the look-alikes and the datasets."""
    names, templates = NameFinder(vocabulary()[1]), TemplateFinder(sentence_templates())
    questions = {task.name: _questions(task) for task in datasets}
    texts = TextFinder(text for asked in questions.values() for text in asked)
    formats = FormatFinder()
    read_corpus(folder / CORPUS, [names, templates, formats, *([texts] if datasets else [])])
    tokenizer = Tokenizer.from_str((folder / TOKENIZER).read_text(encoding="utf-8"))
    lookalikes = {"vocabulary_sha256": vocabulary_hash(), **names.report(), **templates.report()}
    found = {LOOKALIKES: lookalikes, FORMATS: formats.report(tokenizer)}
    real = {
        task.name: {"split": task.split, **texts.report(questions[task.name])} for task in datasets
    }
    return {**found, REAL: real} if datasets else dict(found)


def vocabulary_hash() -> str:
    """Return the hash of all texts and invented names of the look-alikes as they are today."""
    return sha256_json(vocabulary())


def question_text(prompt: str) -> str:
    """Return the question or sentence of a prompt, without what every prompt of its task says."""
    return _FRAME.sub("", prompt)


def _datasets() -> list[Task]:
    return [load_task(name) for name in DATASETS] if os.environ.get("FEDBENCH_DATA") else []


def _questions(task: Task) -> list[str]:
    return sorted({question_text(example.prompt) for example in task.examples})


def _refuse_leaks(record: Mapping[str, Any]) -> None:
    if names := record[LOOKALIKES]["names_found"]:
        raise FedbenchError(f"The corpus holds invented names of the look-alikes: {names[:5]}.")
    for name, found in record.get(REAL, {}).items():
        if whole := found["whole_texts_found"]:
            raise FedbenchError(f"The corpus holds whole texts of {name}: {whole[:5]}.")


def _summary(record: Mapping[str, Any]) -> str:
    told, real = record[LOOKALIKES], record.get(REAL)
    compared = f"no whole text of {', '.join(real)}" if real else "no dataset compared"
    return (
        f"The corpus holds none of {told['names_checked']} invented names, "
        f"{len(told['templates_found'])} of {told['templates_checked']} sentence templates of "
        f"the look-alikes, {compared}."
    )
