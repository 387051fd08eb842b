"""Finished runs: read back as they were, by hash, whether one's own or kept by the repository."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedbench import store
from fedbench.config import RunConfig
from fedbench.errors import Damaged, FedbenchError, Replaceable
from fedbench.files import SEAL, write_bytes, write_json

ITEMS = pd.DataFrame(
    {
        "adapter": ["global"] * 3,
        "item": ["a", "b", "c"],
        "cluster": ["x", "x", "y"],
        "site": ["site-00", "site-01", "site-00"],
        "choices": [2, 2, 3],
        "gold": [0, 1, 2],
        "prediction": [0, 0, 2],
        "blind": [1, 1, 0],
        "majority": [0, 0, 0],
        "generated": pd.array([0, -1, None], dtype="Int64"),
        "scores": [[-1.25, -2.5], [-0.5, -0.75], [-3.0, -2.0, -1.0]],
    }
)


def save(seed=0, items=ITEMS):
    config = RunConfig(task="toy", compute="plain", seed=seed)
    directory = store.folder(config.id)
    write_bytes(directory / "adapters" / "global.safetensors", b"weights")
    write_json(directory / "partition.json", {"sites": {}})
    return store.save(
        directory,
        config,
        {"accuracy": 2 / 3, "note": "ä", "invalid_rate": None},
        [{"federation": "global", "round": 0, "train_loss": 0.1}],
        [{"site": "site-00", "n_train": 3}],
        {"code": "c", "commit": "d"},
        items,
    )


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A folder that stands for ``data/recorded``; own runs are recorded there, then removed."""
    monkeypatch.setattr(store, "shipped", lambda name: tmp_path / "data" / name)
    return tmp_path / "data" / "recorded"


def record(runs, folder):
    store.record(runs, folder)
    for run in runs:
        store.discard(run.id)


def test_a_run_is_read_back_as_it_was_saved():
    saved = save()
    found = store.load(saved.id)
    assert found == saved
    pd.testing.assert_frame_equal(plain(found.items), ITEMS)
    assert found.adapter.read_bytes() == b"weights"


def plain(items):
    """Items with their scores as lists, as parquet gives arrays back."""
    return items.assign(scores=[list(row) for row in items["scores"]])


def test_a_folder_without_a_manifest_is_no_run():
    saved = save()
    (saved.source / store.MANIFEST).unlink()
    assert not store.exists(saved.id)
    assert [run for run in store.finished() if not run.recorded] == []
    with pytest.raises(FedbenchError, match=f"no finished run {saved.id}"):
        store.load(saved.id)


@pytest.mark.parametrize(
    "name", ["run.json", "items.parquet", "partition.json", "adapters/global.safetensors"]
)
@pytest.mark.parametrize("harm", ["flipped", "shortened", "removed"])
def test_a_file_that_was_tampered_with_is_named(name, harm):
    path = save().source / name
    content = path.read_bytes()
    if harm == "removed":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + (bytes([content[-1] ^ 1]) if harm == "flipped" else b""))
    with pytest.raises(FedbenchError) as caught:
        store.load(path.parent.name if "/" not in name else path.parents[1].name)
    assert f"{path} is not the file that was written" in str(caught.value)


@pytest.mark.parametrize("harm", [b"", b"[]", b"{}", b'{"files": {"run.json": 3}}', b"\xff"])
def test_a_damaged_manifest_is_named_and_its_run_can_be_done_again(harm):
    saved = save()
    (saved.source / store.MANIFEST).write_bytes(harm)
    with pytest.raises(Replaceable, match=r"manifest\.json is not the file that was written"):
        store.load(saved.id)


def test_tensors_that_no_manifest_lists_are_no_part_of_a_run():
    saved = save()
    write_bytes(saved.source / "deltas" / "global.safetensors", b"added later")
    with pytest.raises(Replaceable, match=r"global\.safetensors is not in the manifest"):
        store.load(saved.id)


def test_a_list_of_runs_leaves_damaged_ones_out_and_says_so(caplog):
    kept, lost = save(0), save(1)
    (lost.source / "items.parquet").write_bytes(b"")
    assert [run.id for run in store.finished() if not run.recorded] == [kept.id]
    assert "items.parquet is not the file" in caplog.text


def test_items_that_change_after_a_run_was_loaded_are_not_read():
    found = store.load(save().id)
    path = found.source / "items.parquet"
    path.write_bytes(path.read_bytes().replace(b"site", b"sate"))
    for read in (lambda: found.items, lambda: found.counted):
        with pytest.raises(Damaged, match=r"items\.parquet is not the file"):
            read()


@pytest.mark.parametrize("name", ["items.parquet", "runs.jsonl", "manifest.json"])
def test_a_damaged_record_is_told_with_the_command_that_restores_it(recorded, name):
    saved = save()
    record([saved], recorded / "smoke")
    path = recorded / "smoke" / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(Damaged, match=f"git checkout -- {path}") as caught:
        store.load(saved.id)
    assert not isinstance(caught.value, Replaceable)


def test_what_the_repository_keeps_carries_checksums():
    data = Path(__file__).parents[2] / "data"
    records = [path for path in data.rglob("*.json") if "backbones" not in path.parts]
    assert len(records) > 10
    assert [path for path in records if SEAL not in json.loads(path.read_text())] == []
    assert all((folder / store.MANIFEST).exists() for folder in (data / "backbones").iterdir())


def test_a_discarded_run_is_not_there():
    saved = save()
    store.discard(saved.id)
    assert not store.exists(saved.id)
    store.discard("never-there")


def test_finished_runs_come_in_the_order_of_their_ids_each_once(recorded):
    runs = [save(seed) for seed in range(3)]
    record(runs[:2], recorded / "smoke")
    save(0)
    found = list(store.finished())
    own, kept = [r.id for r in found if not r.recorded], [r.id for r in found if r.recorded]
    assert own == sorted([runs[0].id, runs[2].id])
    assert kept == [runs[1].id]


def test_the_beginning_of_an_id_is_enough_where_no_other_run_has_it():
    saved = save()
    assert store.named(saved.id) == saved
    assert store.named(saved.id[:8]) == saved
    with pytest.raises(FedbenchError, match="no finished run ~"):
        store.named("~")
    save(1)
    with pytest.raises(FedbenchError, match=r"\d+ finished runs begin with : give more"):
        store.named("")


def test_a_recorded_run_is_read_like_any_other(recorded):
    saved = save()
    record([saved, save(1)], recorded / "smoke")
    found = store.load(saved.id)
    assert found.recorded
    assert found.config == saved.config
    assert (found.metrics, found.rounds, found.sites) == (saved.metrics, saved.rounds, saved.sites)
    assert found.provenance == saved.provenance
    pd.testing.assert_frame_equal(plain(found.items), ITEMS)


def test_recorded_scores_are_rounded_and_nothing_else_is(recorded):
    fine = ITEMS.assign(scores=[[-1.23456789, -2.5], [-0.5, -0.75], [-3.0, -2.0, -1.0]])
    saved = save(items=fine)
    record([saved], recorded / "smoke")
    found = store.load(saved.id).items
    np.testing.assert_allclose(found["scores"][0], [-1.2346, -2.5], atol=1e-12)
    pd.testing.assert_frame_equal(found.drop(columns="scores"), ITEMS.drop(columns="scores"))


def test_items_of_a_recorded_run_can_be_changed_without_changing_the_record(recorded):
    saved = save()
    record([saved], recorded / "smoke")
    items = store.load(saved.id).items
    items.loc[0, "gold"] = 9
    items["prediction"] = 9
    found = store.load(saved.id).items
    assert list(found["gold"]) == [0, 1, 2]
    assert list(found["prediction"]) == [0, 0, 2]


def test_an_own_run_is_preferred_to_the_recorded_one(recorded):
    saved = save()
    store.record([saved], recorded / "smoke")
    assert not store.load(saved.id).recorded


def test_a_run_without_a_shared_adapter_says_which_it_has():
    saved = save()
    (saved.source / "adapters" / "global.safetensors").rename(
        saved.source / "adapters" / "site-00.safetensors"
    )
    with pytest.raises(FedbenchError, match="its adapters are site-00"):
        _ = saved.adapter


def test_a_recorded_run_has_no_adapter(recorded):
    saved = save()
    record([saved], recorded / "smoke")
    with pytest.raises(FedbenchError, match="repository keeps none"):
        _ = store.load(saved.id).adapter


def test_items_to_count_by_are_the_same_by_column(recorded):
    other = ITEMS.assign(item=["c", "d", "e"], adapter=["z", "y", "z"])
    saved = [save(1), save(2, other), save(3)]
    record(saved, recorded / "smoke")
    for run in (save(4, other), *(store.load(run.id) for run in saved)):
        counted, items = run.counted, run.items
        for name, column in counted.names.items():
            assert [column.each[code] for code in column.codes] == items[name].tolist()
            assert sorted(column.each) == sorted(set(items[name]))
        for name, numbers in counted.numbers.items():
            np.testing.assert_array_equal(numbers, items[name].to_numpy(float, na_value=np.nan))
        assert {*counted.names, *counted.numbers, "scores"} == {*items.columns}
