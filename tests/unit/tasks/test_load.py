"""A dataset needs one YAML file: formats, search order, splits, duplicates and counts."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedbench.errors import FedbenchError
from fedbench.tasks import SPLITS, load_task
from fedbench.tasks.specfile import shipped_specs

from .conftest import CHOICE, LABELLED, Describe, labelled, questions, write_jsonl

WORDS = (
    "kidney stone fever bones muscle nerve blood heart brain liver lungs spine tooth throat elbow"
).split()


def test_a_csv_file_and_one_yaml_file_make_a_task(tmp_path: Path, describe: Describe) -> None:
    with (tmp_path / "rows.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ["text", "label"])
        writer.writeheader()
        writer.writerows([{"text": 'a "quoted",\nlonger one', "label": "delay"}, *labelled()])
    task = load_task(describe(LABELLED, layouts=[{"files": {"all": "rows.csv"}}]))
    assert len(task.examples) == 61
    assert task.labels == ("refund", "delay")
    example = next(e for e in task.examples if "quoted" in e.prompt)
    assert example.prompt == 'a "quoted", longer one\nTopic:'
    assert example.blind_prompt == "Topic:"
    assert example.choices == (" refund", " delay")
    assert example.choices[example.gold] == " delay"
    assert (example.label, example.topic) == ("delay", "delay")


def test_parquet_and_jsonl_give_the_same_task(tmp_path: Path, describe: Describe) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_jsonl(tmp_path / "rows.jsonl", labelled())
    pq.write_table(pa.Table.from_pylist(labelled()), tmp_path / "rows.parquet")
    first = load_task(describe(LABELLED))
    second = load_task(describe(LABELLED, layouts=[{"files": {"all": "rows.parquet"}}]))
    assert first.digest == second.digest
    assert first.sources.keys() == {"rows.jsonl"}


def test_json_lists_and_tsv_are_read(tmp_path: Path, describe: Describe) -> None:
    (tmp_path / "rows.tsv").write_text(
        "text\tlabel\n" + "".join(f"{r['text']}\t{r['label']}\n" for r in labelled())
    )
    (tmp_path / "rows.json").write_text(str(labelled()).replace("'", '"'))
    digests = {
        load_task(describe(LABELLED, layouts=[{"files": {"all": name}}])).digest
        for name in ("rows.tsv", "rows.json")
    }
    assert len(digests) == 1


def test_the_digest_changes_with_the_content_and_not_with_the_order(
    tmp_path: Path, describe: Describe
) -> None:
    path = describe(LABELLED)
    write_jsonl(tmp_path / "rows.jsonl", labelled())
    first = load_task(path)
    write_jsonl(tmp_path / "rows.jsonl", reversed(labelled()))
    assert load_task(path).digest == first.digest
    write_jsonl(tmp_path / "rows.jsonl", labelled(61))
    assert load_task(path).digest != first.digest


def test_duplicates_are_removed_and_conflicts_dropped(tmp_path: Path, describe: Describe) -> None:
    rows = [*labelled(), labelled()[0], {"text": "case 1 came late", "label": "refund"}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    task = load_task(describe(LABELLED))
    assert len(task.examples) == 59
    assert task.audit["rows"] == 62
    assert task.audit["distinct"] == 60
    assert task.audit["removed_duplicates"] == 1
    assert task.audit["dropped_conflicts"] == 1
    assert not any("case 1 came" in e.prompt for e in task.examples)


def test_our_own_split_keeps_groups_together(tmp_path: Path, describe: Describe) -> None:
    rows = [{**r, "target": t} for r in labelled(200) for t in ("one", "two")]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    prompt = "{text}\nTarget: {target}\nTopic:"
    task = load_task(describe(LABELLED, prompt=prompt, group="text"))
    assert task.split == "hash-70-10-20"
    splits = {e.group: set() for e in task.examples}
    for e in task.examples:
        splits[e.group].add(e.split)
    assert all(len(found) == 1 for found in splits.values())
    shares = [len(task.of_split(split)) / 400 for split in SPLITS]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.07)


def test_an_official_test_split_stays_and_validation_is_carved(
    tmp_path: Path, describe: Describe
) -> None:
    write_jsonl(tmp_path / "train.jsonl", questions(200))
    write_jsonl(tmp_path / "test.jsonl", questions(50, start=190))
    task = load_task(describe(CHOICE))
    assert len(task.of_split("test")) == 50
    assert 5 < len(task.of_split("validation")) < 40
    assert task.audit["removed_duplicates"] == 10
    assert task.audit["train_test_overlap_groups"] == 0


def test_a_training_question_that_the_test_split_asks_leaves_training(
    tmp_path: Path, describe: Describe
) -> None:
    train = questions(100)
    asked = [{**row, "c": "another"} for row in questions(10)]
    write_jsonl(tmp_path / "train.jsonl", train)
    write_jsonl(tmp_path / "test.jsonl", asked)
    task = load_task(describe(CHOICE))
    assert len(task.of_split("test")) == 10
    assert task.audit["removed_overlap"] == 10
    assert len(task.examples) == 100


def test_options_are_scored_as_texts_or_as_letters(tmp_path: Path, describe: Describe) -> None:
    write_jsonl(tmp_path / "train.jsonl", questions(60))
    write_jsonl(tmp_path / "test.jsonl", questions(9, start=60))
    path = describe(CHOICE)
    text, letter = load_task(path), load_task(f"{path}:letter")
    assert text.scoring == "text"
    assert text.length_normalised
    assert text.labels == letter.labels == ("A", "B", "C")
    asked = next(e for e in text.of_split("test") if "63" in e.prompt)
    assert asked.choices == (" 63", " 64", " none")
    assert (asked.gold, asked.label) == (0, "A")
    asked = next(e for e in letter.of_split("test") if "63" in e.prompt)
    assert asked.prompt == "Question: what is 63?\nA) 63\nB) 64\nC) none\nAnswer:"
    assert asked.choices == (" A", " B", " C")
    assert text.digest != letter.digest


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({"A": "1", "B": "2"}, {"field": "right", "kind": "letter"}),
        (["1", "2"], {"field": "right_text", "kind": "text"}),
    ],
)
def test_options_in_one_column(
    tmp_path: Path, describe: Describe, options: object, answer: dict[str, str]
) -> None:
    rows = [
        {"question": f"q{n}", "options": options, "right": "b", "right_text": "2"}
        for n in range(60)
    ]
    write_jsonl(tmp_path / "train.jsonl", rows[:50])
    write_jsonl(tmp_path / "test.jsonl", rows[50:])
    task = load_task(describe(CHOICE, options="options", answer=answer))
    assert {e.label for e in task.examples} == {"B"}


def test_scores_become_labels_by_threshold(tmp_path: Path, describe: Describe) -> None:
    scores = {"-0.11": "low", "-0.1": "mid", "0.1": "mid", "0.11": "high"}
    rows = [{"text": f"{s} {n}", "score": s} for n in range(30) for s in scores]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    answer = {"field": "score", "kind": "score", "thresholds": [-0.1, 0.1]}
    given = {"labels": ["low", "mid", "high"], "near_repeats": "keep"}
    task = load_task(describe(LABELLED, answer=answer, **given))
    assert {(e.prompt.split()[0], e.label) for e in task.examples} == set(scores.items())


def test_topics_by_column_and_by_words(tmp_path: Path, describe: Describe) -> None:
    rows = [
        {
            "text": f"{WORDS[n % 15]}s with {WORDS[n % 15]}ish {n}",
            "label": "delay",
            "shop": f"s{n % 2}",
        }
        for n in range(120)
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    column = load_task(describe(LABELLED, topic={"kind": "column", "field": "shop"}))
    assert {e.topic for e in column.examples} == {"s0", "s1"}
    words = load_task(describe(LABELLED, topic={"kind": "words", "field": "text", "clusters": 40}))
    by_theme: dict[str, set[str]] = {}
    for e in words.examples:
        by_theme.setdefault(e.prompt.split()[0], set()).add(e.topic)
    assert set(map(len, by_theme.values())) == {1}
    assert len(set.union(*by_theme.values())) > 3


def test_the_first_layout_whose_files_exist_is_taken(tmp_path: Path, describe: Describe) -> None:
    layouts = [
        {"files": {"train": "train.jsonl", "test": "test.jsonl"}, "split": "official"},
        {"files": {"all": "test.jsonl"}, "caveat": "Not comparable: no training file."},
    ]
    write_jsonl(tmp_path / "test.jsonl", questions(90))
    path = describe(CHOICE, layouts=layouts, note="A note.")
    task = load_task(path)
    assert task.note == "Not comparable: no training file. A note."
    write_jsonl(tmp_path / "train.jsonl", questions(90, start=90))
    task = load_task(path)
    assert (task.split, task.note) == ("official", "A note.")


def test_search_order(tmp_path: Path, describe: Describe, monkeypatch: pytest.MonkeyPatch) -> None:
    path = describe(LABELLED)
    places = [tmp_path, tmp_path / "given/tickets", tmp_path / "env/tickets"]
    places.append(tmp_path / "data/raw/tickets")
    monkeypatch.setenv("FEDBENCH_DATA", str(tmp_path / "env"))
    sizes = (63, 62, 61, 60)
    for place, size in zip(places, sizes, strict=True):
        place.mkdir(parents=True, exist_ok=True)
        write_jsonl(place / "rows.jsonl", labelled(size))
    for place, size in zip(places, sizes, strict=True):
        assert load_task(path, data_dirs=[tmp_path / "given"]).audit["rows"] == size
        (place / "rows.jsonl").unlink()
    with pytest.raises(FedbenchError, match=r"put rows.jsonl into one of .*FEDBENCH_DATA"):
        load_task(path, data_dirs=[tmp_path / "given"])


def test_loading_twice_reads_once(tmp_path: Path, describe: Describe) -> None:
    write_jsonl(tmp_path / "rows.jsonl", labelled())
    path = describe(LABELLED)
    assert load_task(path) is load_task(path)


def test_importing_tasks_is_light() -> None:
    heavy: Any = ("torch", "pandas", "datasets", "pyarrow", "transformers")
    code = f"import sys, fedbench.tasks; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == "[]"


def test_every_shipped_layout_knows_the_length_of_each_of_its_files() -> None:
    layouts = [layout for spec in shipped_specs() for layout in spec.layouts]
    assert layouts
    for layout in layouts:
        assert set(layout.rows) == {file for files in layout.files.values() for file in files}
