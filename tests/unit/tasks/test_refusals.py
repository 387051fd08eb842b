"""Every way in which a dataset can be wrong ends in one sentence that names the place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedbench.errors import FedbenchError
from fedbench.tasks import load_task

from .conftest import CHOICE, LABELLED, Describe, labelled, questions, write_jsonl


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


GOOD = jsonl(labelled())
FIQA = json.dumps({"7": {"sentence": "s", "info": [{"target": "t", "sentiment_score": "0.2"}]}})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", GOOD[:-9], r"rows.jsonl, line 60: not valid JSON; .*fetch it again"),
        ("rows.jsonl", b"", r"rows.jsonl is empty"),
        ("rows.jsonl", b"\n \n", r"rows.jsonl is empty"),
        ("rows.jsonl", GOOD + b'{"text": "\xe9"}', r"rows.jsonl, byte \d+: not utf-8 text"),
        ("rows.jsonl", GOOD + b"[1]\n", r"line 61: a JSON object was expected"),
        ("rows.json", b'[{"text": "a"', r"rows.json: not valid JSON"),
        ("rows.csv", b"text,label\na,refund\nb\n", r"rows.csv, line 3: not as many fields"),
        ("rows.csv", b"text,label\na,refund,x\n", r"rows.csv, line 2: not as many fields"),
        ("rows.csv", b'text,label\n"a,refund\n', r"rows.csv, line 1: unexpected end of data"),
        ("rows.csv", b"text,label\n", r"rows.csv is empty"),
        ("rows.csv", b"a;b,c\nx;y\n", r"if something else than ',' separates them"),
        ("rows.parquet", b"PAR1 cut", r"rows.parquet is not a Parquet table"),
        ("rows.xml", b"<a/>", r"format 'xml' is not known \(use one of csv"),
    ],
)
def test_a_damaged_file(
    tmp_path: Path, describe: Describe, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FedbenchError, match=message):
        load_task(describe(LABELLED, layouts=[{"files": {"all": name}}]))


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        ("sentence_at_label", "good@refund\n1\n", r"rows.txt, line 2: not of the form sentence@"),
        ("sentence_at_label", "good\nb@", r"line 1: not of the form"),
        ("fiqa", FIQA[:-5], r"rows.txt: not valid JSON"),
        ("fiqa", FIQA.replace("target", "other"), r"entry 7: sentence, target or"),
        ("fiqa", "[]", r"a JSON object was expected"),
    ],
)
def test_a_damaged_file_of_a_special_format(
    tmp_path: Path, describe: Describe, form: str, content: str, message: str
) -> None:
    (tmp_path / "rows.txt").write_text(content)
    with pytest.raises(FedbenchError, match=message):
        load_task(describe(LABELLED, layouts=[{"files": {"all": "rows.txt"}, "format": form}]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": None}, r"line 61: the column 'label' is empty"),
        ({"label": " "}, r"line 61: the column 'label' is empty"),
        (
            {"label": "other"},
            r"column 'label': a label that is not known \(labels: refund",
        ),
        ({"text": ""}, r"line 61: the column 'text' is empty"),
        ({"text": ...}, r"line 61: there is no column 'text' among its 1; rename it"),
        ({"label": ...}, r"line 61: there is no column 'label' among its 1; rename it"),
    ],
)
def test_a_wrong_row(
    tmp_path: Path, describe: Describe, change: dict[str, Any], message: str
) -> None:
    row = {"text": "last", "label": "delay", **change}
    row = {key: value for key, value in row.items() if value is not ...}
    write_jsonl(tmp_path / "rows.jsonl", [*labelled(), row])
    with pytest.raises(FedbenchError, match=message):
        load_task(describe(LABELLED))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"right": 0}, r"column 'right': not the number of an option \(1 to 3\)"),
        ({"right": 4}, r"not the number of an option"),
        ({"right": "x"}, r"not the number of an option"),
        ({"a": "None"}, r"two options are the same; .*on_duplicate_options: drop"),
        ({"b": ""}, r"the column 'b' is empty"),
    ],
)
def test_a_wrong_question(
    tmp_path: Path, describe: Describe, change: dict[str, Any], message: str
) -> None:
    write_jsonl(tmp_path / "train.jsonl", questions(60))
    write_jsonl(tmp_path / "test.jsonl", [{**questions(1, 99)[0], **change}])
    with pytest.raises(FedbenchError, match=r"test.jsonl, line 1.*" + message):
        load_task(describe(CHOICE))


@pytest.mark.parametrize(
    ("answer", "value", "message"),
    [
        ({"kind": "letter"}, "D", r"not a letter of an option \(A to C\)"),
        ({"kind": "text"}, "five", r"the answer is not among the options"),
    ],
)
def test_a_wrong_answer(
    tmp_path: Path, describe: Describe, answer: dict[str, str], value: str, message: str
) -> None:
    write_jsonl(tmp_path / "train.jsonl", [{**questions(1)[0], "right": value}])
    write_jsonl(tmp_path / "test.jsonl", [{**questions(1, 1)[0], "right": value}])
    with pytest.raises(FedbenchError, match=message):
        load_task(describe(CHOICE, answer={"field": "right", **answer}))


def test_duplicate_options_can_be_dropped_and_are_counted(
    tmp_path: Path, describe: Describe
) -> None:
    write_jsonl(tmp_path / "train.jsonl", questions(60))
    write_jsonl(tmp_path / "test.jsonl", [{**questions(1, 99)[0], "a": "none"}, *questions(3, 70)])
    task = load_task(describe(CHOICE, on_duplicate_options="drop"))
    assert task.audit["dropped_duplicate_options"] == 1
    assert len(task.of_split("test")) == 3


def test_an_empty_option_in_one_column(tmp_path: Path, describe: Describe) -> None:
    rows = [{"question": "q", "options": ["1", None], "right": 1}]
    write_jsonl(tmp_path / "train.jsonl", rows)
    write_jsonl(tmp_path / "test.jsonl", rows)
    with pytest.raises(FedbenchError, match="line 1: an option is empty"):
        load_task(describe(CHOICE, options="options"))


def test_a_letter_names_the_option_under_it_in_whatever_order_they_stand(
    tmp_path: Path, describe: Describe
) -> None:
    rows = [
        {"question": f"what is {n}?", "given": {"B": f"no {n}", "A": f"yes {n}"}, "right": "A"}
        for n in range(60)
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    answer = {"field": "right", "kind": "letter"}
    layouts = [{"files": {"all": "rows.jsonl"}}]
    task = load_task(describe(CHOICE, options=["given"], answer=answer, layouts=layouts))
    assert all(e.choices[e.gold].strip().startswith("yes") for e in task.examples)


def test_a_code_page_of_windows_is_no_latin1(tmp_path: Path, describe: Describe) -> None:
    layouts = [{"files": {"all": "rows.csv"}, "encoding": "latin-1"}]
    (tmp_path / "rows.csv").write_bytes("text,label\nthe café closed,delay\n".encode("cp437"))
    with pytest.raises(FedbenchError, match=r"rows.csv, byte 18: a control character, so hardly"):
        load_task(describe(LABELLED, layouts=layouts))


def test_a_file_cut_at_the_end_of_a_line_is_noticed_where_its_length_is_known(
    tmp_path: Path, describe: Describe
) -> None:
    layouts = [{"files": {"all": "rows.jsonl"}, "rows": {"rows.jsonl": 60}}]
    write_jsonl(tmp_path / "rows.jsonl", labelled(59))
    with pytest.raises(
        FedbenchError, match=r"rows.jsonl has 59 rows, its release 60: .* cut short"
    ):
        load_task(describe(LABELLED, layouts=layouts))
    write_jsonl(tmp_path / "rows.jsonl", labelled(60))
    assert load_task(describe(LABELLED, layouts=layouts)).examples


def test_a_score_that_is_no_number(tmp_path: Path, describe: Describe) -> None:
    write_jsonl(tmp_path / "rows.jsonl", labelled())
    answer = {"field": "label", "kind": "score", "thresholds": [-0.1, 0.1]}
    with pytest.raises(FedbenchError, match="column 'label': not a number"):
        load_task(describe(LABELLED, answer=answer, labels=["a", "b", "c"]))


def test_too_few_rows_for_a_split(tmp_path: Path, describe: Describe) -> None:
    write_jsonl(tmp_path / "rows.jsonl", labelled(2))
    with pytest.raises(FedbenchError, match=r"task tickets: the .* split is empty"):
        load_task(describe(LABELLED))


def test_latin1_that_was_saved_as_utf8_is_noticed(tmp_path: Path, describe: Describe) -> None:
    layouts = [{"files": {"all": "rows.jsonl"}, "encoding": "latin-1"}]
    row = {"text": "the café closed", "label": "delay"}
    text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in [*labelled(), row])
    path = tmp_path / "rows.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FedbenchError, match=r"rows.jsonl is UTF-8 text, not latin-1: set encoding"):
        load_task(describe(LABELLED, layouts=layouts))
    path.write_text(text, encoding="latin-1")
    assert any("café" in e.prompt for e in load_task(describe(LABELLED, layouts=layouts)).examples)


def test_a_score_that_is_no_number_belongs_to_no_class(tmp_path: Path, describe: Describe) -> None:
    rows = [{"text": f"case {n}", "score": 0.5} for n in range(60)]
    write_jsonl(tmp_path / "rows.jsonl", [*rows, {"text": "last", "score": "nan"}])
    answer = {"field": "score", "kind": "score", "thresholds": [-0.1, 0.1]}
    with pytest.raises(FedbenchError, match=r"line 61, column 'score': not a finite"):
        load_task(describe(LABELLED, labels=["bad", "so-so", "good"], answer=answer))


def test_an_unknown_encoding(tmp_path: Path, describe: Describe) -> None:
    write_jsonl(tmp_path / "rows.jsonl", labelled())
    layouts = [{"files": {"all": "rows.jsonl"}, "encoding": "utf-9"}]
    with pytest.raises(FedbenchError, match="encoding 'utf-9' is not known"):
        load_task(describe(LABELLED, layouts=layouts))


@pytest.mark.parametrize("name", ["medqa", "medmcqa", "fpb", "fiqa_sa"])
def test_a_missing_dataset_says_where_it_looked_and_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(FedbenchError) as caught:
        load_task(name, data_dirs=[tmp_path])
    message = str(caught.value)
    assert name in message
    assert "data/README.md" in message
    assert "\n" not in message


def test_an_unknown_task_names_the_known_ones() -> None:
    with pytest.raises(
        FedbenchError, match=r"no task 'medqaa' .did you mean medqa\?.: use one of .*medmcqa"
    ):
        load_task("medqaa")
    with pytest.raises(FedbenchError, match=r"no/such.yml does not exist"):
        load_task("no/such.yml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "{text}: "}, r"prompt.label ends in white space"),
        ({"prompt": "{text}:"}, r"blind_prompt is missing"),
        ({"prompt": {"letter": "x\ny"}}, r"no template for scoring label"),
        ({"labels": ["one"]}, r"labels must name at least two"),
        ({"layouts": None}, r"layouts is missing"),
        (
            {"title": None, "domian": "x"},
            r"title is missing; domian is not a field, did you mean domain\?",
        ),
        (
            {"answer": {"field": "label", "kind": "guess"}},
            r"answer.kind = 'guess': 'guess' is not known",
        ),
        ({"answer": {"field": "label", "kind": "score"}}, r"kind score needs thresholds"),
        ({"topic": {"kind": "column"}}, r"topic = .*: kind column needs a field"),
        (
            {"topic": {"kind": "mood"}},
            r"topic.kind = 'mood': 'mood' is not known \(use one of column",
        ),
        ({"fractions": {"train": 0.9}}, r"fractions = .*add up to 1"),
        (
            {"layouts": [{"files": {"all": "x"}, "rows": {"y": 3}}]},
            r"rows names y, which is none of its files \(x\)",
        ),
        ({"layouts": [{"files": {"train": "x"}}]}, r"layouts.0.files = .*: name either all"),
        ({"layouts": [{"files": {"train": "x", "test": "y", "all": "z"}}]}, r"all cannot stand"),
        ({"scoring": "text", "prompt": "a\nb"}, r"options is missing"),
        ({"scoring": "letter", "prompt": "a\nb"}, r"prompt.letter does not show \{options\}"),
        ({"name": "Two words"}, r"name = 'Two words': string should match"),
    ],
)
def test_a_wrong_description(describe: Describe, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FedbenchError, match=r"task.yml does not describe a task: .*" + message):
        load_task(describe(LABELLED, **changes))


def test_a_description_that_is_no_yaml_mapping(tmp_path: Path) -> None:
    path = tmp_path / "bad.yml"
    path.write_text("a: [1")
    with pytest.raises(FedbenchError, match="cannot be read as YAML"):
        load_task(str(path))
    path.write_text("- a")
    with pytest.raises(FedbenchError, match="must hold fields and values"):
        load_task(str(path))


def test_labels_that_yaml_reads_as_booleans_are_to_be_quoted(describe: Describe) -> None:
    with pytest.raises(FedbenchError, match="yes, no, on and off as true and false: quote them"):
        load_task(describe(LABELLED, labels=[True, False]))


def test_a_choice_task_must_say_how_its_answer_is_written(describe: Describe) -> None:
    with pytest.raises(FedbenchError, match=r"answer\.kind is missing"):
        load_task(describe(CHOICE, answer={"field": "right"}))


def test_letters_of_options_are_no_topics(describe: Describe) -> None:
    with pytest.raises(FedbenchError, match="letters of options, which are no topics"):
        load_task(describe(CHOICE, topic={"kind": "label"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"answer": {"field": "right", "kind": "text"}},
        {"answer": {"field": "right", "kind": "letter"}},
        {"answer": {"field": "right", "kind": "index"}},
        {"answer": {"field": "right"}, "labels": ["a", "b"], "options": None},
        {"answer": {"field": "right", "kind": "score", "thresholds": [0, 1]},
         "labels": ["a", "b", "c"], "options": None},
        {"answer": {"field": "elsewhere", "kind": "text"}},
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_its_place_and_never_quoted(
    tmp_path: Path, describe: Describe, changes: dict[str, Any]
) -> None:
    private = "a patient of ward 7"
    rows = [{**questions(1)[0], "right": private, private: private}]
    write_jsonl(tmp_path / "train.jsonl", rows)
    write_jsonl(tmp_path / "test.jsonl", rows)
    prompt = "{question}\nAnswer:" if "labels" in changes else CHOICE["prompt"]
    with pytest.raises(FedbenchError, match=r"test\.jsonl, line 1") as caught:
        load_task(describe(CHOICE, **{"prompt": prompt, **changes}))
    assert private not in str(caught.value)
