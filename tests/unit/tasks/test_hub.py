"""Rows through ``datasets``: tried on local folders in the hub's formats, never on the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedbench.errors import FedbenchError
from fedbench.tasks import load_task
from fedbench.tasks.specfile import shipped_specs

from .conftest import CHOICE, LABELLED, Describe, labelled, questions, write_jsonl

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "owner" / "copy"
    folder.mkdir(parents=True)
    return folder


def hub(folder: Path, **changes: Any) -> dict[str, Any]:
    return {"id": f"owner/{folder.name}", "revision": "f" * 40, **changes}


def test_a_parquet_copy_with_other_names_and_counts(elsewhere: Path, describe: Describe) -> None:
    rows = [{**row, "right": row["right"] - 1} for row in questions(90)]
    for name, part in {"train": rows[:60], "validation": rows[60:]}.items():
        table = pa.Table.from_pylist(part).rename_columns({"question": "asked"})
        pq.write_table(table, elsewhere / f"{name}-00000-of-00001.parquet")
    told = hub(
        elsewhere,
        split="official",
        splits={"train": "train", "test": "validation"},
        rename={"asked": "question"},
        answer={"field": "right", "kind": "index", "first": 0},
    )
    task = load_task(describe(CHOICE, hub=told))
    assert task.split == "official"
    assert len(task.of_split("test")) == 30
    asked = next(e for e in task.examples if "what is 64?" in e.prompt)
    assert asked.choices[asked.gold] == " 65"
    assert list(task.sources) == [f"hub:owner/copy@{'f' * 40}"]


def test_a_jsonl_copy_with_all_splits_in_one(elsewhere: Path, describe: Describe) -> None:
    write_jsonl(elsewhere / "train.jsonl", labelled(50))
    write_jsonl(elsewhere / "test.jsonl", labelled(80)[50:])
    task = load_task(describe(LABELLED, hub=hub(elsewhere, splits={"all": ["train", "test"]})))
    assert task.audit["rows"] == 80
    assert task.split == "hash-70-10-20"


def test_files_on_disk_come_before_the_hub(
    elsewhere: Path, tmp_path: Path, describe: Describe
) -> None:
    write_jsonl(tmp_path / "rows.jsonl", labelled())
    task = load_task(describe(LABELLED, hub=hub(elsewhere, splits={"all": "train"})))
    assert list(task.sources) == ["rows.jsonl"]


def test_a_copy_without_the_split(elsewhere: Path, describe: Describe) -> None:
    write_jsonl(elsewhere / "train.jsonl", labelled(50))
    with pytest.raises(FedbenchError, match=r"split valid of .* could not be had from the Hugging"):
        load_task(describe(LABELLED, hub=hub(elsewhere, splits={"all": "valid"})))


def test_a_copy_that_brings_a_script_runs_nothing(elsewhere: Path, describe: Describe) -> None:
    mark = elsewhere / "ran"
    script = f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
    (elsewhere / f"{elsewhere.name}.py").write_text(script)
    with pytest.raises(FedbenchError, match="could not be had"):
        load_task(describe(LABELLED, hub=hub(elsewhere, splits={"all": "train"})))
    assert not mark.exists()


def test_offline_and_without_files(describe: Describe) -> None:
    told = {"id": "nobody/nothing", "revision": "f" * 40, "splits": {"all": "train"}}
    with pytest.raises(FedbenchError, match="connect once, or put the files into data/raw") as e:
        load_task(describe(LABELLED, hub=told))
    assert "\n" not in str(e.value)


def test_without_a_known_revision_nothing_is_downloaded(describe: Describe) -> None:
    told = {"id": "nobody/nothing", "revision": None, "splits": {"all": "train"}}
    with pytest.raises(FedbenchError, match="is not pinned, so nothing is downloaded"):
        load_task(describe(LABELLED, hub=told))


def test_every_pinned_revision_is_a_full_commit_hash() -> None:
    revisions = [spec.hub.revision for spec in shipped_specs() if spec.hub]
    assert len(revisions) == 4
    assert all(len(bytes.fromhex(revision)) == 20 for revision in revisions if revision)
