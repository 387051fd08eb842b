"""No path that a file gives, and no name that is typed, leads out of the folder it belongs to."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import yaml

import fedbench
from fedbench import profiles, store
from fedbench.errors import FedbenchError
from fedbench.files import write_json
from fedbench.models.backbones import load_model, load_tokenizer, locate
from fedbench.paths import home, within
from fedbench.report.build import build
from fedbench.tasks import load_task
from tests import toys

AWAY = ["../x", "a/../../x", "/etc/passwd", "..", "a/..", "x\0y", "/"]


@pytest.mark.parametrize("name", AWAY)
def test_a_name_that_leads_away_is_refused(tmp_path, name):
    with pytest.raises(FedbenchError, match="leaves the folder"):
        within(tmp_path / "folder", name)


@pytest.mark.parametrize("name", ["a", "a/b.csv", "..a", "a..b", "a/..b/c", "-", "~"])
def test_a_name_below_the_folder_is_a_path_in_it(tmp_path, name):
    assert within(tmp_path, name) == tmp_path / name


def test_a_link_is_followed_only_as_far_as_the_folder_reaches(tmp_path):
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (tmp_path / "folder" / "good").symlink_to(tmp_path / "folder" / "below")
    (tmp_path / "folder" / "bad").symlink_to(tmp_path / "secret")
    (tmp_path / "folder" / "up").symlink_to("..")
    (tmp_path / "linked").symlink_to(tmp_path / "folder")
    assert within(tmp_path / "folder", "good")
    assert within(tmp_path / "linked", "good")
    for name in ("bad", "up/secret"):
        with pytest.raises(FedbenchError, match="no link that leads elsewhere"):
            within(tmp_path / "folder", name)


@pytest.fixture
def task(tmp_path):
    """Writes a toy task whose file gives another name for its rows."""
    path = toys.make_task(tmp_path / "tasks")

    def named(name):
        told = yaml.safe_load(path.read_text())
        told["layouts"][0]["files"] = {"all": name}
        path.write_text(yaml.safe_dump(told))
        return str(path)

    return named


def test_rows_lie_beside_the_file_of_their_task_or_below(task, tmp_path):
    (tmp_path / "tasks" / "below").mkdir()
    shutil.copy(tmp_path / "tasks" / "toy.csv", tmp_path / "tasks" / "below" / "toy.csv")
    assert load_task(task("below/toy.csv")).examples


@pytest.mark.parametrize("name", ["../toy.csv", "/etc/passwd", "below/../../toy.csv"])
def test_a_task_names_no_file_elsewhere_and_is_told_which_field_and_what_to_do(
    task, tmp_path, name
):
    shutil.copy(tmp_path / "tasks" / "toy.csv", tmp_path / "toy.csv")
    with pytest.raises(FedbenchError, match=r"layouts.0.files = .* leaves the folder of the") as e:
        load_task(task(name))
    assert "put the file beside the task's file or below it, or set FEDBENCH_DATA" in str(e.value)


def test_rows_are_not_read_through_a_link_out_of_the_folder(task, tmp_path):
    (tmp_path / "tasks" / "toy.csv").rename(tmp_path / "elsewhere.csv")
    (tmp_path / "tasks" / "toy.csv").symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(FedbenchError, match=r"'toy\.csv' leaves the folder"):
        load_task(task("toy.csv"))


def test_a_folder_of_datasets_may_be_a_link_itself(task, tmp_path, monkeypatch):
    (tmp_path / "large" / "toy").mkdir(parents=True)
    (tmp_path / "tasks" / "toy.csv").rename(tmp_path / "large" / "toy" / "toy.csv")
    (tmp_path / "data").symlink_to(tmp_path / "large")
    monkeypatch.setenv("FEDBENCH_DATA", str(tmp_path / "data"))
    assert load_task(task("toy.csv")).examples


@pytest.mark.parametrize(
    "name", ["../theirs", "/etc", "json", "a/../b", "a/b/c", ".a/b", "a/..", ""]
)
def test_a_dataset_of_the_hub_is_no_folder_of_this_machine(tmp_path, name):
    told = {
        "name": "far", "title": "Far", "domain": "x", "prompt": "{text}\nTopic:",
        "labels": ["a", "b"], "answer": {"field": "y"},
        "hub": {"id": name, "revision": "f" * 40, "splits": {"all": "train"}},
    }  # fmt: skip
    path = tmp_path / "far.yml"
    path.write_text(yaml.safe_dump(told))
    with pytest.raises(FedbenchError, match=r"hub\.id = "):
        load_task(str(path))
    told["hub"] |= {"id": "owner/name", "revision": "main"}
    path.write_text(yaml.safe_dump(told))
    with pytest.raises(FedbenchError, match=r"hub\.revision = 'main'"):
        load_task(str(path))


@pytest.mark.parametrize(
    "prompt",
    ["{text.__class__}\nMood:", "{text[0]}\nMood:", "{text:>9999999999}\nMood:", "{text!r}\nMood:",
     "{text:{mood}}\nMood:"],
)  # fmt: skip
def test_a_prompt_names_columns_and_nothing_of_what_they_are(tmp_path, prompt):
    path = toys.make_task(tmp_path)
    told = yaml.safe_load(path.read_text()) | {"prompt": prompt}
    path.write_text(yaml.safe_dump(told))
    with pytest.raises(FedbenchError, match="more than names of columns between braces"):
        load_task(str(path))


def test_a_run_is_found_by_its_id_and_by_no_path(tmp_path):
    elsewhere = home() / "elsewhere"
    write_json(elsewhere / "manifest.json", {"files": {}})
    write_json(home() / "runs" / "x.json", {})
    for name in ("../elsewhere", str(elsewhere.resolve()), "..", "", "."):
        assert not store.exists(name)
        with pytest.raises(FedbenchError, match="There is no finished run"):
            fedbench.load(name)


def test_a_profile_is_found_by_its_name_and_names_no_notebooks_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "own").mkdir()
    told = {
        "title": "own", "minutes": 1, "common": {"learning_rate": 0.1},
        "partitions": [{"kind": "iid", "sites": 2}], "notebooks": str(tmp_path / "notebooks"),
        "grid": [{"tasks": ["fpb"], "backbones": ["b"], "methods": ["lora"], "seeds": [0]}],
    }  # fmt: skip
    path = tmp_path / "own.yml"
    for away in (str(tmp_path / "notebooks"), "../notebooks"):
        path.write_text(yaml.safe_dump(told | {"notebooks": away}))
        profiles.read_spec.cache_clear()
        with pytest.raises(FedbenchError, match="leaves the folder"):
            build(str(path))
    with pytest.raises(FedbenchError, match="There is no profile"):
        profiles.read_spec("../profiles/tiny")
    profiles.read_spec.cache_clear()


@pytest.fixture
def copy(backbones, tmp_path):
    return shutil.copytree(backbones("llama"), tmp_path / "copy")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_backbone_that_brings_code_is_refused_and_none_of_it_is_run(copy, tmp_path, name):
    code = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
    (copy / "theirs.py").write_text(code)
    settings = json.loads((copy / name).read_text())
    settings["auto_map"] = {"AutoConfig": "theirs.C", "AutoModelForCausalLM": "theirs.M",
                            "AutoTokenizer": ["theirs.T", None]}  # fmt: skip
    (copy / name).write_text(json.dumps(settings))
    with pytest.raises(FedbenchError, match=r"asks for code .*auto_map.*never run") as caught:
        load_model(str(copy), dtype="float32", device="cpu", compute="plain")
    assert "trust_remote_code" not in str(caught.value)
    with pytest.raises(FedbenchError, match="never run"):
        load_tokenizer(str(copy))
    assert not (tmp_path / "ran").exists()


class Touch:
    """Unpickled, it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_weights_that_are_a_pickle_are_refused_and_not_read(copy, tmp_path):
    import torch

    (copy / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Touch(tmp_path / "ran")}, copy / "pytorch_model.bin")
    with pytest.raises(FedbenchError, match=r"as a pickle .pytorch_model.bin., which is never"):
        load_model(str(copy), dtype="float32", device="cpu", compute="plain")
    assert not (tmp_path / "ran").exists()


def test_of_a_folder_with_both_kinds_of_weights_the_pickle_is_not_read(copy, tmp_path):
    import torch

    torch.save({"model.norm.weight": Touch(tmp_path / "ran")}, copy / "pytorch_model.bin")
    assert load_model(str(copy), dtype="float32", device="cpu", compute="plain") is not None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("shard", ["pytorch_model.bin", "../away.safetensors", "/x.safetensors"])
def test_an_index_names_safetensors_of_its_own_folder_only(copy, shard):
    (copy / "model.safetensors").rename(copy / "model-00001-of-00001.safetensors")
    index = copy / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": shard}}))
    with pytest.raises(FedbenchError, match=r"is no \.safetensors file of this folder"):
        locate(str(copy))


def test_a_backbone_to_which_an_adapter_would_be_added_unasked_is_refused(copy, tmp_path):
    settings = {"base_model_name_or_path": str(tmp_path / "another"), "peft_type": "LORA"}
    (copy / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(FedbenchError, match="would add to it unasked"):
        locate(str(copy))


def test_an_exported_adapter_is_asked_for_by_name_and_by_no_path(tmp_path):
    from types import SimpleNamespace

    from fedbench.exporting import export

    run = SimpleNamespace(id="0" * 16, adapters={"global": tmp_path / "global.safetensors"})
    with pytest.raises(FedbenchError, match=r"no adapter '\.\./\.\./global'"):
        export(run, tmp_path / "out", "../../global")


@pytest.mark.parametrize("name", ["../../run", "/etc/passwd", "adapters/../../x.safetensors"])
def test_names_in_a_manifest_lead_nowhere(name):
    directory = store.folder("0" * 16)
    write_json(directory / "manifest.json", {"files": {name: "0" * 64}})
    with pytest.raises(FedbenchError, match="is not the file that was written"):
        store.load("0" * 16)
