"""A Parquet table is read by a process of its own, whose end is a sentence of ours."""

from __future__ import annotations

import datetime
import signal
from decimal import Decimal

import pyarrow as pa
import pytest
from pyarrow import parquet

from fedbench.errors import FedbenchError
from fedbench.tasks.parquet_apart import reader, rows_apart, rows_from
from fedbench.tasks.parsers import parse


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "t.parquet"
    values = {"text": ["é😀", None], "n": [1, 2], "score": [0.1, -1e300],
              "when": [datetime.date(2020, 1, 2)] * 2, "price": [Decimal("1.50")] * 2,
              "raw": [b"\xff", b""], "options": [["a", "b"], []],
              "given": [{"A": "x"}, None]}  # fmt: skip
    parquet.write_table(pa.table(values), path)
    return path


def test_rows_are_what_they_were_and_what_json_cannot_write_is_the_text_of_it(table):
    expected = parquet.read_table(table).to_pylist()
    found = list(rows_apart(table))
    assert [{n: str(v) for n, v in row.items()} for row in found] == [
        {n: str(v) for n, v in row.items()} for row in expected
    ]
    assert found[0]["options"] == ["a", "b"]
    assert found[0]["given"] == {"A": "x"}
    assert found[0]["score"] == 0.1
    assert [where for where, _ in parse(table, "", "utf-8")] == [
        f"{table}, row {n}" for n in (1, 2)
    ]


def test_a_reader_that_crashed_is_one_sentence(table):
    for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL):
        with reader() as process:
            process.send_signal(number)
            process.wait()
            with pytest.raises(
                FedbenchError, match=r"t\.parquet made its reader crash: the file is"
            ):
                list(rows_from(process, table))


def test_a_reader_that_takes_too_long_is_one_sentence(table):
    with reader() as process:
        process.send_signal(signal.SIGALRM)
        process.wait()
        with pytest.raises(FedbenchError, match=r"t\.parquet took too long"):
            list(rows_from(process, table))


def test_a_small_file_that_unpacks_to_all_memory_is_one_sentence(tmp_path):
    path = tmp_path / "bomb.parquet"
    bomb = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), ["x" * 50_000])
    parquet.write_table(pa.table({"text": bomb}), path)
    assert path.stat().st_size < 200_000
    with (
        reader(memory=700 << 20) as process,
        pytest.raises(FedbenchError, match=r"takes more memory than is|made its reader crash"),
    ):
        list(rows_from(process, path))
