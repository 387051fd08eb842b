"""Files of datasets and descriptions that are odd: each is read, or refused in one sentence."""

from __future__ import annotations

import json

import pytest

from fedbench.errors import FedbenchError
from fedbench.files import read_json, read_yaml
from fedbench.tasks import load_task
from fedbench.tasks.parsers import parse

from .conftest import CHOICE, LABELLED, labelled, questions, write_jsonl


def refusal(read, *given):
    with pytest.raises(FedbenchError) as caught:
        list(read(*given))
    told = str(caught.value)
    assert "\n" not in told
    assert len(told) < 2500
    return told


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", "[" * 100_000, "not valid JSON"),
        ("x.json", "[" * 100_000, "not valid JSON"),
        ("x.jsonl", '{"a": "\\ud83d"}', "line 1: half of a character"),
        ("x.json", '[{"a": ["\\udc00"]}]', "half of a character"),
        ("x.csv", "a,b,a\n1,2,3\n", "columns 1 and 3 have one name"),
    ],
)
def test_an_odd_file_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    assert message in refusal(parse, tmp_path / name, "", "utf-8")


@pytest.mark.parametrize("encoding", ["idna", "utf-7", "undefined", "hex", "a\0b", "", "x" * 5000])
def test_an_odd_encoding_is_refused(tmp_path, encoding):
    (tmp_path / "x.jsonl").write_bytes(b'{"a": "+2AA-\xff"}')
    refusal(parse, tmp_path / "x.jsonl", "", encoding)


def test_a_whole_character_that_json_writes_in_two_halves_is_read(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"a": "\\ud83d\\ude00"}')
    assert [row for _, row in parse(tmp_path / "x.jsonl", "", "utf-8")] == [{"a": "😀"}]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([f"option {n}" for n in range(27)], "has 27 options, and 2 to 26 have letters"),
        (["one"], "has 1 options"),
        (["a", " "], "an option is empty"),
        *((odd, "an option is empty") for odd in ([], {}, 5, "ab", True, [None, "a"])),
    ],
)
def test_odd_options_are_refused(tmp_path, describe, given, message):
    rows = [{"question": "q", "given": given, "right": 1}]
    for name in ("train", "test"):
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    told = refusal(load_task, describe(CHOICE, options=["given"]))
    assert "line 1" in told
    assert message in told or "the column 'given' is empty" in told


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "{text.__class__}\nx"}, "more than names of columns between braces"),
        ({"prompt": "{text!r:>999999999}\nx"}, "more than names of columns between braces"),
        ({"prompt": "{\nx"}, "prompt"),
        ({"prompt": ""}, "prompt.label is empty"),
        ({"blind_prompt": ""}, "prompt.label is empty"),
        ({"labels": 5}, "labels"),
        ({"labels": {"a": "good", "b": "good "}}, "without white space around"),
        ({"labels": {"a": "", "b": "x"}}, "without white space around"),
        ({"scoring": ["label"]}, "scoring"),
        ({"answer": {"field": "label", "kind": "score", "thresholds": [1, 0]}}, "not be above"),
        ({"answer": {"field": "label", "kind": "score", "thresholds": [0, 1]}}, "three classes"),
        ({"layouts": [{"files": {"all": "x" * 5000}}]}, "was not found"),
        ({"layouts": [{"files": {"all": "a\0b"}}]}, "was not found"),
        ({"x" * 5000: 1}, "is not a field"),
        ({"title": ["deep"] * 5000}, "title"),
    ],
)
def test_an_odd_description_is_refused(tmp_path, describe, changes, message):
    write_jsonl(tmp_path / "rows.jsonl", labelled())
    assert message in refusal(load_task, describe(LABELLED, **changes))


def test_contradictions_are_told_beside_fields_that_are_wrong(tmp_path, describe):
    told = refusal(load_task, describe(LABELLED, labels=["one"], near_repeats="some", topics=1))
    for part in ("near_repeats = 'some'", "topics is not a field", "labels must name at least two"):
        assert part in told


@pytest.mark.parametrize(
    "name", ["x" * 5000, "x" * 5000 + ".yml", "\0", "\ud800.yml", "", "..", "/"]
)
def test_an_odd_name_is_no_task(name):
    refusal(load_task, name)


@pytest.mark.parametrize(
    "content",
    ["a: 2020-13-45", "a: !!timestamp x", "a: !!binary é", "a: !!int x", "a: !!float x", "[" * 5000,
     "? {a: 1}\n: 2", 'a: "\\ud800"', "a: &x [*x", "a: !!python/object:os.system x", "\0",
     "- 1", "a: !!set 3"],
)  # fmt: skip
def test_odd_yaml_is_refused(tmp_path, content):
    (tmp_path / "x.yml").write_text(content)
    refusal(read_yaml, tmp_path / "x.yml")


@pytest.mark.parametrize("content", ["[" * 100_000, "{", "\0", "9" * 5000])
def test_odd_json_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    refusal(read_json, tmp_path / "x.json")


def test_a_long_name_of_a_sentence_is_not_told_in_full(tmp_path, describe):
    content = json.dumps({"a\n" * 5000: {"sentence": "s"}})
    (tmp_path / "rows.txt").write_text(content)
    layouts = [{"files": {"all": "rows.txt"}, "format": "fiqa"}]
    assert "entry 1: sentence, target or" in refusal(load_task, describe(LABELLED, layouts=layouts))


def test_a_question_of_26_options_is_read(tmp_path, describe):
    rows = [{**row, "given": [f"{n} {row['a']}" for n in range(26)], "right": 26}
            for row in questions(60)]  # fmt: skip
    for name, part in (("train", rows[:50]), ("test", rows[50:])):
        write_jsonl(tmp_path / f"{name}.jsonl", part)
    found = load_task(describe(CHOICE, options=["given"], near_repeats="keep"))
    assert {example.label for example in found.examples} == {"Z"}
