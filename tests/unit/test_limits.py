"""A small file that would take all memory once it is read is refused before it is."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedbench import limits
from fedbench.errors import FedbenchError
from fedbench.files import read_json, read_yaml
from fedbench.limits import from_json, from_yaml, read_within, unpacked
from fedbench.options import fields_from
from fedbench.paths import CHECKOUT, PACKAGE
from fedbench.pretraining.readers import read_text
from fedbench.tasks import parsers
from fedbench.tasks.parsers import parse
from fedbench.wire import BadPayload
from fedbench.wire.frame import framed, opened

DEEP = 100_000
#: nine references to nine references, nine times over: a billion values in half a kilobyte
LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture
def sparse(tmp_path):
    """Makes a file that takes no room on the disk and is as large as asked for."""

    def make(name, size):
        path = tmp_path / name
        with path.open("wb") as handle:
            os.truncate(handle.fileno(), size)
        return path

    return make


def refused(act, message):
    """The act is refused with one sentence, and without much memory."""
    tracemalloc.start()
    try:
        with pytest.raises(FedbenchError, match=message) as caught:
            act()
        assert tracemalloc.get_traced_memory()[1] < 64 * limits.MIB
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


def test_a_file_that_is_too_large_is_not_read(sparse):
    refused(lambda: read_json(sparse("a.json", limits.JSON_BYTES + 1)), "the most that is read")
    refused(lambda: read_yaml(sparse("a.yml", limits.YAML_BYTES + 1)), "the most that is read")
    path = sparse("a.jsonl", 8 << 30)
    refused(lambda: list(parse(path, "", "utf-8")), "the most that is read")


def test_a_file_that_is_as_large_as_may_be_is_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_within(path, 5) == b"12345"
    with pytest.raises(FedbenchError, match="more than 4 bytes"):
        read_within(path, 4)


def test_what_tells_no_size_is_read_as_far_as_it_may_be():
    refused(lambda: read_within(limits.Path("/dev/zero"), 1000), "more than 1,000 bytes")


def test_a_billion_laughs_are_refused_and_soon(tmp_path):
    path = tmp_path / "a.yml"
    path.write_text(LAUGHS)
    refused(lambda: read_yaml(path), "cannot be read as YAML .its references unfold to more than")


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}", "&a [&b [*a, *b]]"])
def test_what_holds_itself_is_refused(text):
    with pytest.raises(ValueError, match="unfold"):
        from_yaml(text)


def test_references_that_say_little_are_followed(tmp_path):
    assert from_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]") == {
        "a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}],
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system [touch here]",
        "a: !!python/name:os.system",
        "!!python/object/new:list [[1]]",
        "a: 2024-13-45",
        f"a: {'9' * 5000}",
        "a: [",
        "a: \x00",
        "[" * 60_000,
        "{a: " * 15_000,
        "- " * 30_000,
        "? " * 30_000,
    ],
)
def test_yaml_that_is_no_plain_value_is_one_sentence(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yml").write_text(text)
    refused(lambda: read_yaml(tmp_path / "a.yml"), "cannot be read as YAML .*correct it")
    assert [path.name for path in tmp_path.iterdir()] == ["a.yml"]


def test_an_option_that_is_no_yaml_is_the_text_that_it_is():
    assert fields_from(["--task", "[" * 5000]) == {"task": "[" * 5000}


@pytest.mark.parametrize("text", ["[" * DEEP, '{"a":' * DEEP, "[" * DEEP + "]" * DEEP])
def test_json_that_is_nested_too_deeply_is_one_sentence(tmp_path, text):
    with pytest.raises(ValueError, match=r"deeply|Expecting"):
        from_json(text)
    path = tmp_path / "a.json"
    path.write_text(text)
    refused(lambda: read_json(path), "cannot be read as JSON")
    refused(lambda: list(parse(path, "json", "utf-8")), "not valid JSON")
    refused(lambda: list(parse(path, "jsonl", "utf-8")), "not valid JSON")
    with pytest.raises(BadPayload):
        opened(framed({}, b"").replace(b"{}", text.encode()))


def test_a_number_of_a_million_digits_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(f'[{{"a": {"9" * 1_000_000}}}]')
    refused(lambda: read_json(path), "cannot be read as JSON")


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "sentence_at_label", "json"])
def test_a_line_that_no_row_has_is_told_by_its_number(tmp_path, form):
    path = tmp_path / f"rows.{form}"
    path.write_text('{"text": "a"}\n' + "x" * (limits.LINE + 1) + "\n")
    if form == "sentence_at_label":
        path.write_text("a@b\n" + "x" * (limits.LINE + 1) + "@b\n")
    refused(lambda: list(parse(path, form, "utf-8")), r"rows\.\w+, line 2: more than")


def test_more_rows_than_any_dataset_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parsers, "ROWS", 3)
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n" * 3)
    assert len(list(parse(path, "", "utf-8"))) == 3
    path.write_text("{}\n" * 4)
    refused(lambda: list(parse(path, "", "utf-8")), "more than 3 rows")


def test_one_json_value_may_not_be_as_long_as_many_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(parsers, "JSON_BYTES", 20)
    path = tmp_path / "rows.json"
    path.write_text('{"a": 1}\n' * 10)
    assert len(list(parse(path, "json", "utf-8"))) == 10
    path.write_text(json.dumps([{"a": 1}] * 10))
    refused(lambda: list(parse(path, "json", "utf-8")), "write one object a line")


def repeated(kind, size, times):
    """A column in which one text of ``size`` bytes comes ``times``; it is written once."""
    once = pa.array(["x" * size], kind)
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), once)


@pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.large_string()])
@pytest.mark.parametrize("shape", ["column", "list", "struct"])
def test_a_text_that_is_written_once_and_named_often_is_counted_as_often(tmp_path, kind, shape):
    column = repeated(kind, limits.MIB, 20_000)
    if shape == "list":
        column = pa.ListArray.from_arrays(pa.array([0, 10_000, 20_000], pa.int32()), column)
    if shape == "struct":
        column = pa.StructArray.from_arrays([column], ["inner"])
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": column}), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 100_000
    refused(lambda: list(parse(path, "", "utf-8")), r"unpacks to 20,971,520,000 bytes")


def test_a_parquet_page_that_unpacks_to_too_much_is_not_unpacked(tmp_path):
    path = tmp_path / "rows.parquet"
    count = limits.DATA_BYTES // (64 * limits.KIB) + 1
    with pq.ParquetWriter(
        path, pa.schema({"text": pa.string()}), compression="zstd", use_dictionary=False
    ) as writer:
        for start in range(0, count, 512):
            part = [f"{n}" + "x" * 64 * limits.KIB for n in range(start, min(start + 512, count))]
            writer.write_table(pa.table({"text": part}))
    assert path.stat().st_size < limits.MIB
    refused(lambda: list(parse(path, "", "utf-8")), "unpacks to .* bytes")


def test_more_values_than_any_table_has_are_not_unpacked(tmp_path):
    path = tmp_path / "rows.parquet"
    numbers = pa.repeat(pa.scalar(1, pa.int8()), limits.CELLS + 1)
    pq.write_table(pa.table({"n": numbers}), path, compression="zstd")
    assert path.stat().st_size < 100_000
    refused(lambda: list(parse(path, "", "utf-8")), r"unpacks to 20,000,001 values")


def test_a_table_of_all_kinds_is_read_as_it_was_written(tmp_path):
    rows = [
        {
            "text": f"text {n % 3}",
            "n": n,
            "x": n / 7,
            "yes": n % 2 == 0,
            "none": None,
            "options": [f"{n}", "b", None],
            "keyed": {"A": f"yes {n}", "B": None},
            "deep": [{"k": "v", "l": ["w", f"{n}"]}],
        }
        for n in range(1000)
    ]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=300)
    assert [row for _, row in parse(path, "", "utf-8")] == rows


def test_a_gzip_bomb_is_unpacked_no_further_than_it_may_be(tmp_path):
    path = tmp_path / "dictionary.gz"
    path.write_bytes(600 * gzip.compress(bytes(limits.MIB)))  # one after the other are one file
    assert path.stat().st_size < limits.MIB
    refused(lambda: unpacked(path, 10 * limits.MIB), "unpacks to more than 10,485,760 bytes")
    with pytest.raises(FedbenchError, match="unpacks to more than"):
        read_text(path)


def test_what_ships_with_the_package_is_far_within_the_limits():
    told = [*PACKAGE.rglob("*.yml"), *(CHECKOUT / "data").rglob("*.yml")]
    assert len(told) > 20
    assert max(path.stat().st_size for path in told) * 10 < limits.YAML_BYTES
    records = [*(CHECKOUT / "data").rglob("*.json"), *(CHECKOUT / "figures").rglob("*.json")]
    assert max(path.stat().st_size for path in records) * 10 < limits.JSON_BYTES


def test_the_limits_are_those_that_are_told():
    told = " ".join((CHECKOUT / "SECURITY.md").read_text(encoding="utf-8").split())
    assert f"YAML of more than {limits.YAML_BYTES // limits.KIB} KiB" in told
    assert f"{limits._YAML_DEPTH} levels or {limits.YAML_VALUES:,} values" in told
    assert f"JSON of more than {limits.JSON_BYTES // limits.MIB} MiB" in told
    assert f"datasets of more than {limits.DATA_BYTES // limits.MIB} MiB" in told
    assert f"or {limits.CELLS // 10**6} million values" in told
    assert (limits.ROWS, limits.LINE) == (5_000_000, 8 << 20)
