"""The authors' release files, where a machine has them: counts, labels and splits as documented."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fedbench.errors import FedbenchError
from fedbench.tasks import SPLITS, Task, load_task

pytestmark = pytest.mark.real


def sizes(task: Task) -> dict[str, int]:
    return {split: len(task.of_split(split)) for split in SPLITS}


def test_fpb() -> None:
    task = load_task("fpb")
    assert task.audit["rows"] == 4846
    assert task.audit["distinct"] == 4838
    assert task.audit["removed_duplicates"] == 6
    assert task.audit["dropped_conflicts"] == 2
    assert task.audit["near_repeats"] == 9
    assert len(task.examples) == 4836 - 9
    assert len(task.of_split("test")) > 900
    assert 0.09 < len(task.of_split("validation")) / 4836 < 0.11
    assert task.labels == ("negative", "neutral", "positive")


def test_the_damaged_line_of_the_strictest_phrasebank_is_named(tmp_path: Path) -> None:
    """The release with all annotators agreeing has a line 38 that holds nothing but ``1``."""
    release = Path(os.environ["FEDBENCH_DATA"]) / "fpb" / "Sentences_AllAgree.txt"
    lines = release.read_text(encoding="latin-1").split("\n")
    for name, kept in (("whole", lines), ("mended", lines[:37] + lines[38:])):
        folder = tmp_path / name
        folder.mkdir()
        (folder / release.name).write_text("\n".join(kept), encoding="latin-1")
        (folder / "strict.yml").write_text(
            'name: strict\ntitle: Strict\ndomain: finance\nprompt: "{sentence}\\nSentiment:"\n'
            "labels: [negative, neutral, positive]\nanswer: {field: label}\nnear_repeats: drop\n"
            f"layouts: [{{files: {{all: {release.name}}}, format: sentence_at_label, "
            "encoding: latin-1}]\n"
        )
    with pytest.raises(FedbenchError, match="line 38: not of the form sentence@label"):
        load_task(str(tmp_path / "whole" / "strict.yml"))
    assert load_task(str(tmp_path / "mended" / "strict.yml")).audit["rows"] == 2264 - 1


def test_fiqa_sa() -> None:
    task = load_task("fiqa_sa")
    assert task.audit["near_repeats"] == 1
    assert len(task.examples) == 1173 - 1
    assert len({e.group for e in task.examples}) == 1111 - 1
    assert {e.attribute for e in task.examples} == {"headline", "post"}
    blip = next(e for e in task.examples if "just a blip" in e.prompt)
    assert blip.label == "neutral"  # its score is -0.1, which is not below -0.1


def test_medqa_on_its_development_questions() -> None:
    task = load_task("medqa")
    if task.split == "official":
        assert task.note == ""
        return
    assert "10,178 official training questions were not found" in task.note
    assert sum(sizes(task).values()) == 2545
    assert sizes(task)["test"] == 1273
    assert len({e.topic for e in task.examples}) > 10


def test_medmcqa_counts_options_from_one() -> None:
    task = load_task("medmcqa")
    fibre = next(e for e in task.examples if "not true for myelinated nerve fibers" in e.prompt)
    assert fibre.choices[fibre.gold].startswith(" Impulse through myelinated")
    if task.split == "hash-70-10-20":
        assert task.audit["rows"] == 4183
        assert task.audit["dropped_duplicate_options"] == 21
    assert len({e.attribute for e in task.examples}) == 21


@pytest.mark.parametrize("name", ["medqa", "medmcqa", "fpb", "fiqa_sa", "medqa:letter"])
def test_every_real_task_is_sound(name: str) -> None:
    task = load_task(name)
    assert task.audit["train_test_overlap_groups"] == 0
    assert task.audit["train_validation_overlap_groups"] == 0
    assert len({e.id for e in task.examples}) == len(task.examples)
    for e in task.examples:
        assert e.prompt == e.prompt.rstrip()
        assert all(choice.startswith(" ") for choice in e.choices)
        assert len(set(e.choices)) == len(e.choices)
        assert 0 <= e.gold < len(e.choices)
        assert e.label in task.labels


def test_other_shared_datasets_need_a_description_and_no_code(tmp_path: Path) -> None:
    described = {
        "banking77": """
            {name: banking77, title: Banking77, domain: support, prompt: "{text}\\nIntent:",
             labels: [card_arrival, card_linking, exchange_rate], answer: {field: category},
             layouts: [{files: {train: subset.csv, test: subset_test.csv}}]}""",
        "tfns": """
            {name: tfns, title: Twitter financial news, domain: finance,
             prompt: "{text}\\nSentiment:", answer: {field: label},
             labels: {0: negative, 1: positive, 2: neutral}, near_repeats: drop,
             layouts: [{files: {train: sent_train.csv, test: sent_valid.csv}}]}""",
    }
    source = Path(os.environ["FEDBENCH_DATA"]) / "banking77"
    for name, wanted in (("train", "subset.csv"), ("test", "subset_test.csv")):
        lines = (source / f"{name}.csv").read_text().splitlines(keepends=True)
        kept = [s for s in lines if s.rstrip().endswith((",card_arrival", ",exchange_rate"))]
        (tmp_path / wanted).write_text("".join([lines[0], *kept]))
    assert _near_repeats_of_tfns(tmp_path, described["tfns"]) == 34
    for name, text in described.items():
        (tmp_path / f"{name}.yml").write_text(text)
        assert len(load_task(str(tmp_path / f"{name}.yml")).examples) > 100


def _near_repeats_of_tfns(folder: Path, text: str) -> object:
    """A published split whose training tweets repeat its validation tweets: it is refused."""
    path = folder / "leaking.yml"
    path.write_text(text.replace(", near_repeats: drop", ""))
    with pytest.raises(FedbenchError, match="nearly repeat a test item"):
        load_task(str(path))
    path.write_text(text)
    return load_task(str(path)).audit["near_repeats"]


def test_two_splits_of_fiqa_that_differ_in_size_only_overlap(tmp_path: Path) -> None:
    """A public benchmark trains on one such split and tests on the other: the audit sees it."""
    import numpy as np

    sentences = sorted({e.prompt.split("\nTarget:")[0] for e in load_task("fiqa_sa").examples})
    # As scikit-learn splits: the first of one permutation are the test, whatever their number.
    order = np.random.RandomState(42).permutation(len(sentences))
    trained = [sentences[i] for i in order[round(0.226 * len(order)) :]]
    tested = [sentences[i] for i in order[: round(0.25 * len(order))]]
    shared = len({*trained} & {*tested})
    assert shared > 0
    for name, chosen in (("train", trained), ("test", tested)):
        lines = [json.dumps({"text": text, "label": "ab"[len(text) % 2]}) for text in chosen]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    (tmp_path / "mine.yml").write_text(
        'name: mine\ntitle: Mine\ndomain: finance\nprompt: "{text}\\nLabel:"\nlabels: [a, b]\n'
        "answer: {field: label}\nnear_repeats: drop\n"
        "layouts: [{files: {train: train.jsonl, test: test.jsonl}}]\n"
    )
    audit = load_task(str(tmp_path / "mine.yml")).audit
    assert audit["removed_duplicates"] == shared
