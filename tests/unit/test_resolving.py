"""Equivalent configurations become one; names and combinations without a meaning are refused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fedbench.config import PartitionConfig, RunConfig
from fedbench.errors import FedbenchError
from fedbench.models.methods import METHODS
from fedbench.resolving import check_sources, checked, resolve
from fedbench.tasks import located


def config(**values):
    return RunConfig(**{"task": "lookalike_fpb", **values})


def test_every_unknown_name_is_told_at_once_with_a_suggestion():
    with pytest.raises(FedbenchError) as caught:
        resolve(config(method="lorra", rule="fedavgg", codec="fp33"))
    message = str(caught.value)
    for field, near in (("method", "lora"), ("rule", "fedavg"), ("codec", "fp32")):
        assert f"{field} = " in message
        assert f"did you mean {near}?" in message


def test_wrong_fields_names_and_sources_are_told_in_one_message():
    with pytest.raises(FedbenchError) as caught:
        checked({"rounds": 0, "sede": 1, "method": "lorra", "task": "nope", "backbone": "none"})
    message = str(caught.value)
    for part in ("rounds = 0", "sede is not a field, did you mean seed?", "did you mean lora?",
                 "no task 'nope'", "no backbone 'none'"):  # fmt: skip
        assert part in message


def test_what_is_checked_and_right_is_resolved():
    values = {"task": "lookalike_fpb", "setting": "base"}
    assert checked(values) == resolve(config(setting="base"))


@pytest.mark.parametrize("name", ["mine.yml", "mine.yaml", "mine.yml:letter", "a.yml.d/mine.yaml"])
def test_a_task_given_as_a_path_is_the_same_in_every_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert located(name) == str(tmp_path / name)
    assert located("medqa:letter") == "medqa:letter"


@pytest.mark.parametrize("method", METHODS)
def test_an_open_compute_becomes_the_first_choice_of_the_method(method):
    assert resolve(config(method=method)).compute == METHODS[method].computes[0]


def test_qlora_quantises_unless_told_otherwise():
    assert resolve(config(method="qlora")).compute == "nf4"
    assert resolve(config(method="qlora", compute="nf4-dequantised")).compute == "nf4-dequantised"


@pytest.mark.parametrize(
    ("method", "compute"), [("lora", "nf4"), ("qlora", "plain"), ("full", "nf4")]
)
def test_a_compute_that_has_no_meaning_for_the_method_is_refused(method, compute):
    with pytest.raises(FedbenchError, match=f"compute = '{compute}' has no meaning for .*{method}"):
        resolve(config(method=method, compute=compute))


@pytest.mark.parametrize("setting", ["base", "centralized"])
def test_settings_of_one_site_do_not_depend_on_the_partition(setting):
    skewed = PartitionConfig(kind="dirichlet", alpha=0.3, sites=5)
    ids = {
        resolve(config(setting=setting, partition=skewed, participation=0.5)).id,
        resolve(config(setting=setting)).id,
    }
    assert len(ids) == 1


def test_settings_of_one_site_depend_on_what_changes_their_examples_and_on_nothing_else():
    def form(setting, **fields):
        partition = PartitionConfig(kind="dirichlet", alpha=0.3, sites=5, **fields)
        return resolve(config(setting=setting, partition=partition)).partition

    one = PartitionConfig(sites=1)
    noisy, both = {"noise": 0.4, "noisy": 0.2}, {"noise": 0.4, "noisy": 0.2, "dialects": 3}
    assert form("base", **noisy) == one
    assert form("centralized", **noisy) == form("federated", **noisy)
    assert form("base", **both) == form("federated", dialects=3)
    assert form("centralized", **both) == form("federated", **both)
    assert form("centralized", slowest=0.5, **noisy) == form("federated", **noisy)
    assert form("base", slowest=0.5, minimum=9, dialects=3) == form("federated", dialects=3)
    assert form("centralized", slowest=0.5, ranks=[1, 2], minimum=9) == one
    assert form("local", slowest=0.5) == form("local")
    for setting in ("local", "federated"):
        assert form(setting, **both).noisy == 0.2


def test_only_look_alikes_have_dialects_and_not_more_than_they_have(monkeypatch):
    monkeypatch.setattr("fedbench.resolving.load_task", lambda _: None)

    def asked(task, dialects):
        partition = PartitionConfig(dialects=dialects)
        return config(task=task, backbone="fedbench-llama", partition=partition)

    with pytest.raises(FedbenchError, match="fpb can be worded in: leave it out, or take a look-"):
        check_sources(asked("fpb", 2))
    with pytest.raises(FedbenchError, match=r"more than the 4 that task lookalike_.*: 1 to 4"):
        check_sources(asked("lookalike_medqa", 5))
    check_sources(asked("lookalike_fpb", 4))
    check_sources(asked("fpb", 1))


def test_a_local_site_does_not_depend_on_the_share_of_sites_in_a_cohort():
    ids = {resolve(config(setting="local", participation=p)).id for p in (0.5, 1.0)}
    assert len(ids) == 1


def test_a_federation_depends_on_partition_and_participation():
    skewed = PartitionConfig(kind="dirichlet", alpha=0.3)
    ids = {
        resolve(config(**values)).id
        for values in ({}, {"partition": skewed}, {"participation": 0.5})
    }
    assert len(ids) == 3


def test_resolving_twice_changes_nothing():
    once = resolve(config(setting="centralized", method="qlora"))
    assert resolve(once) == once


def test_a_missing_task_and_a_missing_backbone_are_told_in_one_message():
    with pytest.raises(FedbenchError) as caught:
        check_sources(config(task="no_such_task", backbone="no-such-backbone"))
    assert "no_such_task" in str(caught.value)
    assert "no-such-backbone" in str(caught.value)


def test_a_natural_partition_of_a_task_without_owners_is_refused_with_all_the_rest(monkeypatch):
    monkeypatch.setattr("fedbench.resolving.load_task", lambda _: None)
    partition = PartitionConfig(kind="natural", sites=2)
    with pytest.raises(FedbenchError) as caught:
        check_sources(config(task="fpb", backbone="no-such-backbone", partition=partition))
    assert "task fpb names none" in str(caught.value)
    assert "no-such-backbone" in str(caught.value)
    check_sources(config(task="fiqa_sa", backbone="fedbench-llama", partition=partition))


def test_a_partition_by_answers_needs_answers_that_are_classes(monkeypatch):
    monkeypatch.setattr("fedbench.resolving.load_task", lambda _: None)
    partition = PartitionConfig(kind="label", sites=2, alpha=0.3)
    asked = {"backbone": "fedbench-llama", "partition": partition}
    for task in ("medqa", "medqa:letter"):
        with pytest.raises(FedbenchError, match=r"task medqa are letters.*use dirichlet"):
            check_sources(config(task=task, **asked))
    check_sources(config(task="fpb", **asked))


def test_shuffled_labels_have_no_meaning_where_a_prompt_shows_its_options(monkeypatch):
    monkeypatch.setattr("fedbench.resolving.load_task", lambda _: None)
    asked = {"backbone": "fedbench-llama", "labels": "shuffled"}
    with pytest.raises(FedbenchError, match="no meaning where a prompt shows its options"):
        check_sources(config(task="medqa:letter", **asked))
    check_sources(config(task="medqa", **asked))


def test_a_device_that_is_not_there_is_refused_before_any_work(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(FedbenchError, match="no CUDA device"):
        check_sources(config(device="cuda"))


def test_checking_a_configuration_does_not_import_torch():
    code = (
        "import sys; from fedbench.config import RunConfig; import fedbench.resolving as r; "
        "r.resolve(RunConfig(task='x')); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(("holds", "told"), [(False, True), (True, False)])
def test_a_data_folder_without_the_dataset_is_named(tmp_path, monkeypatch, holds, told):
    monkeypatch.setenv("FEDBENCH_DATA", str(tmp_path))
    if holds:
        (tmp_path / "medqa").mkdir()
    monkeypatch.setattr("fedbench.resolving.load_task", _missing)
    with pytest.raises(FedbenchError) as caught:
        check_sources(RunConfig(task="medqa"))
    assert (f"FEDBENCH_DATA is {tmp_path}" in str(caught.value)) == told


def _missing(task):
    raise FedbenchError(f"The dataset {task} is not on this machine.")
