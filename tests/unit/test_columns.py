"""Items by column: names as codes, and what is counted by them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from fedbench.columns import NAMES, NUMBERS, Columns, Names, all_names, ranges, read_columns
from fedbench.errors import FedbenchError

SITES = Names(["b", "a", "c"], np.array([0, 0, 2, 1]))


def test_a_name_is_found_among_those_known_and_is_nowhere_otherwise():
    assert SITES.among(["a", "b"]).tolist() == [1, 1, -1, 0]


def test_rows_keep_their_names_and_lose_those_that_do_not_occur():
    found = SITES.of(np.array([False, True, True, False]))

    assert [found.each[code] for code in found.codes] == ["b", "c"]
    assert sorted(found.each) == ["b", "c"]


def test_columns_are_cut_to_the_same_rows():
    found = Columns({"site": SITES}, {"gold": np.array([1, 2, 3, 4])}).of(slice(1, 3))

    assert len(found) == 2
    assert found.numbers["gold"].tolist() == [2, 3]
    assert [found.names["site"].each[code] for code in found.names["site"].codes] == ["b", "c"]


def test_rows_of_a_name_that_stand_together_are_a_range():
    assert ranges(SITES) == {"b": slice(0, 2), "c": slice(2, 3), "a": slice(3, 4)}


def test_names_of_several_columns_are_sorted_and_told_once():
    assert all_names([SITES, Names(["d", "a"], np.array([1, 0]))]) == ["a", "b", "c", "d"]


def test_items_are_read_without_pandas_which_takes_longer_to_import_than_they_to_count(tmp_path):
    names = {name: ["a", "b"] for name in NAMES}
    numbers = {name: pd.array([1, None], dtype="Int64") for name in NUMBERS}
    pd.DataFrame({**names, **numbers}).to_parquet(tmp_path / "items.parquet")
    script = (
        "import sys, pathlib; from fedbench.columns import read_columns; "
        "path = pathlib.Path(sys.argv[1]); read_columns(path, path.read_bytes()); "
        "print('pandas' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "items.parquet")],
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.strip() == "False"


@pytest.mark.parametrize("damage", ["cut", "other bytes", "no column"])
def test_items_that_cannot_be_read_are_one_sentence_that_names_the_file(tmp_path, damage):
    path = tmp_path / "items.parquet"
    frame = pd.DataFrame({name: ["a"] for name in NAMES} | {name: [1.0] for name in NUMBERS})
    frame.drop(columns="gold" if damage == "no column" else []).to_parquet(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "other bytes":
        path.write_text("not parquet")
    with pytest.raises(FedbenchError, match=r"items\.parquet cannot be read \(.*git checkout"):
        read_columns(path, path.read_bytes())
