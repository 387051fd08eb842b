"""One run from configuration to record, on a toy: every setting, twice, and after a change."""

from __future__ import annotations

import errno
import json
import os
import threading
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import fedbench
from fedbench import freshness, grid, running, store
from fedbench.budgets import spent
from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.exporting import export
from fedbench.locks import is_held
from fedbench.resolving import resolve
from fedbench.running import run
from tests import toys


@pytest.fixture
def configure(backbones, toy_task):
    def of(**values):
        defaults = {
            "task": toy_task,
            "backbone": str(backbones("llama")),
            "partition": {"kind": "iid", "sites": 2, "minimum": 2},
            "rounds": 2,
            "passes": 2,
            "batch_size": 8,
            "rank": 2,
            "max_tokens": 64,
            "generated": 3,
        }
        return RunConfig.model_validate({**defaults, **values})

    return of


def result(found):
    """All of a run that must be a function of its configuration: bytes and numbers."""
    return {
        "adapters": {name: path.read_bytes() for name, path in found.adapters.items()},
        "items": found.items.to_json(),
        "metrics": dict(found.metrics),
        "rounds": list(found.rounds),
        "sites": list(found.sites),
        "partition": (found.source / "partition.json").read_bytes(),
    }


@pytest.mark.parametrize(
    ("setting", "adapters"),
    [
        ("base", []),
        ("local", ["site-00", "site-01"]),
        ("federated", ["global"]),
        ("centralized", ["global"]),
    ],
)
def test_a_setting_is_a_choice_of_federations(configure, setting, adapters):
    found = run(configure(setting=setting))
    assert list(found.adapters) == adapters
    assert {record["federation"] for record in found.rounds} == set(adapters)
    assert len(found.rounds) == 2 * len(adapters)
    items = found.items
    assert sorted(set(items["adapter"])) == (adapters or ["global"])
    n_test = found.metrics["n_test"]
    assert len(items) == n_test * max(1, len(adapters))
    assert items["generated"].notna().sum() == min(3, n_test)
    processed = found.metrics["examples"]
    assert processed == (0 if setting == "base" else 2 * found.metrics["n_train"])
    right = [(part["gold"] == part["prediction"]).mean() for _, part in items.groupby("adapter")]
    assert found.metrics["accuracy"] == pytest.approx(sum(right) / len(right))


def test_every_setting_is_scored_on_the_same_items_and_trained_on_the_same_examples(configure):
    found = [run(configure(setting=s)) for s in ("base", "local", "federated", "centralized")]
    assert len({tuple(sorted(set(r.items["item"]))) for r in found}) == 1
    held = [
        sorted(i for site in _partition(r)["sites"].values() for i in site["train"]) for r in found
    ]
    assert held[0] == held[1] == held[2] == held[3]


HETEROGENEOUS = {
    "label": {"kind": "label", "alpha": 0.5},
    "noise": {"noise": 0.5},
    "dialects": {"dialects": 2},
    "slowest": {"slowest": 0.5},
    "all of them": {"noise": 0.5, "dialects": 4, "slowest": 0.5},
}


@pytest.mark.parametrize("way", HETEROGENEOUS)
def test_sites_may_differ_in_every_way_in_every_setting(configure, way):
    partition = {"kind": "iid", "sites": 2, "minimum": 2, **HETEROGENEOUS[way]}
    limits = {"train_limit": 40, "validation_limit": 6, "test_limit": 8}
    asked = {"task": "lookalike_fpb", "partition": partition, "passes": 1, **limits}
    found = {s: run(configure(setting=s, **asked)) for s in ("base", "local", "federated")}
    found["centralized"] = run(configure(setting="centralized", **asked))
    processed = {s: one.metrics["examples"] for s, one in found.items()}
    assert processed.pop("base") == 0
    assert all(abs(examples - 40) <= 2 for examples in processed.values())
    told = found["federated"].metrics["heterogeneity"]
    assert set(told) == {"label_divergence", "topic_divergence", "size_imbalance"}
    assert all(0 <= value <= 1 for value in told.values())
    assert all(0 < record["update_spread"] < 1 for record in found["federated"].rounds)
    if "noise" in partition:
        wrong = {s: sum(site["n_wrong"] for site in found[s].sites) for s in processed}
        assert len(set(wrong.values())) == 1
        assert wrong["local"] in (9, 10, 11)  # half of what one of two sites holds


def test_the_record_of_a_run_without_noise_does_not_speak_of_it(configure):
    assert all("n_wrong" not in site for site in run(configure()).sites)


def _partition(found):
    return json.loads((found.source / "partition.json").read_text())


def test_a_run_is_done_once(configure, monkeypatch):
    first = run(configure())

    def never(*args):
        raise AssertionError("computed again")

    monkeypatch.setattr(running, "_compute", never)
    assert run(configure()) == first
    assert fedbench.run(configure()) == first
    assert fedbench.load(first.id) == first


def test_two_fresh_homes_give_the_same_bits(configure, monkeypatch, tmp_path):
    results = []
    for name in ("one", "two"):
        monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / name))
        torch.manual_seed(len(results))
        torch.randn(3)
        results.append(result(run(configure(dropout=0.1))))
    assert results[0] == results[1]


def test_another_seed_gives_another_adapter(configure):
    a, b = (run(configure(seed=seed)).adapter.read_bytes() for seed in (0, 1))
    assert a != b


def test_a_run_restores_torchs_global_generator(configure):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    run(configure(method="ia3"))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("step", range(4))
def test_a_run_interrupted_at_any_exchange_ends_with_the_same_bits(
    configure, monkeypatch, tmp_path, step
):
    config = configure()
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / "whole"))
    undisturbed = result(run(config))
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / "cut"))
    calls = []
    original = running.InProcess.exchange

    def dying(self, messages, deadline=None):
        calls.append(1)
        for pair in original(self, messages, deadline):
            yield pair
            if len(calls) == step + 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running.InProcess, "exchange", dying)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    assert not store.exists(resolve(config).id)
    assert result(run(config)) == undisturbed


def another_way(opened):
    """Another way for payloads, that says when it is opened."""

    def engine(prepared, model, folder):
        opened.append(folder)
        return running.IN_PROCESS.engine(prepared, model, folder)

    return running.Way("another", engine)


def test_how_payloads_travel_is_told_by_the_record_and_no_part_of_the_result(
    configure, monkeypatch, tmp_path
):
    found, opened = [], []
    for name, way in (("one", running.IN_PROCESS), ("two", another_way(opened))):
        monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / name))
        found.append(run(configure(), way=way))
    assert [one.provenance["engine"] for one in found] == ["in-process", "another"]
    assert len(opened) == 1
    assert found[0].id == found[1].id
    assert result(found[0]) == result(found[1])


def test_a_run_may_be_begun_one_way_and_go_on_another(configure, monkeypatch, tmp_path):
    config = configure(rule="scaffold", optimizer="sgd", learning_rate=0.1)
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / "whole"))
    undisturbed = result(run(config))
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / "cut"))
    with monkeypatch.context() as patch:
        patch.setattr("fedbench.federation.phase", _stop_in_the_second_round())
        with pytest.raises(KeyboardInterrupt):
            run(config)
    opened = []
    assert result(run(config, way=another_way(opened))) == undisturbed
    assert len(opened) == 1


def test_where_nobody_trains_no_payload_travels(configure):
    opened = []
    run(configure(setting="base"), way=another_way(opened))
    assert opened == []


def test_a_way_that_nobody_knows_is_told():
    config = RunConfig(task="lookalike_fpb", backbone="fedbench-llama")
    with pytest.raises(FedbenchError, match="'carrier pigeon' is not known: in-process, or flower"):
        fedbench.run(config, engine="carrier pigeon")


def test_nothing_but_the_record_is_left_behind(configure):
    found = run(configure())
    left = {str(p.relative_to(found.source)) for p in found.source.rglob("*") if p.is_file()}
    assert left == {
        "adapters/global.safetensors", "items.parquet", "lock", "manifest.json",
        "partition.json", "run.json",
    }  # fmt: skip


def test_two_takers_of_one_run_take_turns_and_it_is_done_once(configure, monkeypatch):
    done, original = [], running._compute

    def counted(*args):
        done.append(1)
        original(*args)

    monkeypatch.setattr(running, "_compute", counted)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(run(configure(setting="base"))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1
    assert len(found) == 3


def test_work_that_a_killed_run_could_not_remove_any_more_is_removed_by_the_next(
    configure, monkeypatch
):
    config = configure()
    with monkeypatch.context() as patch:
        patch.setattr(running.shutil, "rmtree", lambda *given, **named: None)
        found = run(config)
    assert store.untidy(found.id)
    assert grid._why_done(resolve(config)) == ""
    monkeypatch.setattr(running, "_compute", None)  # and it is not done again
    assert result(run(config)) == result(found)
    assert not store.untidy(found.id)
    assert grid._why_done(resolve(config)) is None


def test_temporaries_of_killed_processes_are_swept_away_when_a_run_begins(configure):
    config = configure()
    directory = store.folder(resolve(config).id)
    for left in (directory, directory / "work" / "x", directory / "adapters"):
        left.mkdir(parents=True)
        (left / ".checkpoint.0123456789abcdef").touch()
    run(config)
    assert [path.name for path in directory.rglob(".*")] == []


@pytest.mark.parametrize(
    "way",
    [
        {"rule": "scaffold", "optimizer": "sgd", "learning_rate": 0.1},
        {"codec": "ef+top-k:share=0.1"},
        {"rule": "fedsa-lora"},
    ],
    ids=["rule", "codec", "personal"],
)
def test_a_run_whose_sites_lost_what_they_go_on_from_starts_over(
    configure, monkeypatch, tmp_path, caplog, way
):
    config = configure(**way)
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / "whole"))
    undisturbed = result(run(config))
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / "cut"))
    original = running.federate

    def stopped(*given):
        with monkeypatch.context() as patch:
            patch.setattr("fedbench.federation.phase", _stop_in_the_second_round())
            return original(*given)

    with monkeypatch.context() as patch:
        patch.setattr(running, "federate", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    (lost,) = (tmp_path / "cut").rglob("site-00/00000.state")
    lost.unlink()
    assert result(run(config)) == undisturbed
    assert "starts over" in caplog.text


def _stop_in_the_second_round():
    calls = []

    def phase(name):
        calls.append(name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return nullcontext()

    return phase


@pytest.fixture
def other_code(monkeypatch):
    """Pretend that the code which results depend on has moved."""

    def move(name="moved"):
        for module in (freshness, running):
            monkeypatch.setattr(module, "code_of", lambda config: name)

    return move


def test_a_run_of_other_code_is_done_again_and_the_reason_is_told(configure, other_code):
    first = run(configure())
    assert freshness.moved(first) == ""
    other_code()
    assert "the code has moved since commit" in freshness.moved(first)
    again = run(configure())
    assert again.provenance["code"] == "moved"
    assert result(again) == result(first)


def test_a_checkpoint_of_other_code_does_not_count(configure, other_code, monkeypatch):
    asked = []
    original = running.InProcess.exchange

    def listening(self, messages, deadline=None):
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return original(self, messages, deadline)

    monkeypatch.setattr(running.InProcess, "exchange", listening)
    with pytest.raises(KeyboardInterrupt):
        run(configure())
    other_code()
    run(configure())
    assert len(asked) == 3 + 4


def test_changed_data_make_a_run_stale(configure, tmp_path):
    task = toys.make_task(tmp_path / "own")
    first = run(configure(task=str(task), setting="base"))
    table = tmp_path / "own" / "toy.csv"
    table.write_text(table.read_text().replace("number 3 ", "number three "))
    assert "the data of" in freshness.moved(first)
    assert "have changed" in freshness.moved(first)
    again = run(configure(task=str(task), setting="base"))
    assert again.id == first.id
    assert again.provenance["data"] != first.provenance["data"]


def test_data_that_only_the_author_has_do_not_make_a_run_stale(configure, tmp_path):
    task = toys.make_task(tmp_path / "own")
    first = run(configure(task=str(task), setting="base"))
    task.unlink()
    assert freshness.moved(first) == ""


def test_the_record_says_what_was_computed_and_from_what(configure):
    found = run(configure(method="qlora"))
    assert found.config.compute == "nf4"
    origin = found.provenance
    assert {"commit", "code", "versions", "hardware", "data", "backbone", "partition"} <= set(
        origin
    )
    assert origin["partition"] == _partition(found)["digest"]
    assert found.metrics["trainable_parameters"] * 4 == found.metrics["adapter_bytes"]
    for way in ("bytes_down", "bytes_up"):
        assert found.metrics[way] == sum(record[way] for record in found.rounds)


def test_keys_and_shares_are_bytes_of_a_run_under_masks_and_of_no_other(configure):
    hidden, plain = run(configure(secure={})), run(configure())
    for way in ("down", "up", "validation", "keys", "unmask"):
        assert hidden.metrics[f"bytes_{way}"] == sum(r[f"bytes_{way}"] for r in hidden.rounds) > 0
    counted = {name for name in hidden.metrics if name.startswith("bytes_")}
    assert sum(hidden.metrics[name] for name in counted) == sum(map(spent, hidden.rounds))
    of_masks = {"bytes_keys", "bytes_unmask"}
    assert {name for name in plain.metrics if name.startswith("bytes_")} == counted - of_masks


def test_a_trained_setting_in_which_no_site_can_train_is_refused(configure):
    for setting in ("local", "federated"):
        config = configure(setting=setting, partition={"sites": 2, "minimum": 1000})
        with pytest.raises(FedbenchError, match=r"fewer than partition\.minimum = 1000"):
            run(config)


def test_sites_that_are_too_small_are_reported_and_do_not_train(configure):
    partition = {"kind": "quantity", "alpha": 0.3, "sites": 4, "minimum": 8}
    found = run(configure(setting="local", partition=partition))
    small = found.metrics["sites_too_small"]
    assert small
    assert set(found.adapters).isdisjoint(small)
    assert [site["site"] for site in found.sites if not site["trained"]] == small


def test_limits_keep_the_same_items_first(configure):
    small, large = (set(run(configure(setting="base", test_limit=n)).items["item"]) for n in (2, 4))
    assert len(small) == 2
    assert small < large


def test_shuffled_labels_leave_the_test_split_alone(configure):
    true, shuffled = (run(configure(labels=labels)) for labels in ("true", "shuffled"))
    pd.testing.assert_series_equal(true.items["gold"], shuffled.items["gold"])
    assert true.adapter.read_bytes() != shuffled.adapter.read_bytes()


def test_a_disk_that_fills_up_is_one_sentence_and_the_run_goes_on_afterwards(
    configure, monkeypatch
):
    """The disk fills up at the first file of the result; the rounds before it are not repeated."""
    config, real = configure(), os.replace

    def full(source, target):
        if "adapters" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(FedbenchError, match=r"could not be written .No space left.*free the"):
            run(config)
    monkeypatch.setattr("fedbench.site.train", None)  # nobody trains again
    assert run(config).adapter.exists()


def fail_at(module, name, config, monkeypatch):
    """Do a run that breaks off where it calls ``name``."""
    with monkeypatch.context() as patch:
        patch.setattr(module, name, None)
        with pytest.raises(TypeError):
            run(config)


def test_half_a_result_is_never_taken_for_the_one_before_it(configure, other_code, monkeypatch):
    first = run(configure())
    other_code()
    fail_at(store, "save", configure(), monkeypatch)
    assert not store.exists(first.id)
    assert result(run(configure())) == result(first)


def test_a_result_stays_until_its_successor_is_computed(configure, other_code, monkeypatch):
    first = run(configure())
    other_code()
    fail_at(running, "score_adapters", configure(), monkeypatch)
    assert store.load(first.id).provenance == first.provenance
    assert store.load(first.id).adapter.exists()


@pytest.mark.parametrize("method", ["lora", "qlora", "ia3", "full"])
def test_an_exported_adapter_is_read_by_plain_libraries_and_gives_the_same_logits(
    configure, backbones, tmp_path, method
):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from fedbench.models.attached import attached
    from fedbench.models.quantise import COMPUTES
    from fedbench.models.tensors import load_tensors

    found = run(configure(method=method, learning_rate=0.05))
    export(found, tmp_path / "out")
    ids = torch.tensor([[5, 9, 4, 7]])
    with attached(found.config) as model, torch.no_grad():
        fresh = model(input_ids=ids).logits
        load_tensors(model, load_file(found.adapter))
        expected = model(input_ids=ids).logits
    if method == "full":
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    else:
        described = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
        # In the order of a set, two exports of one run would be two.
        assert described["target_modules"] == sorted(described["target_modules"])
        assert len(described["target_modules"]) > 1
        assert described["base_model_name_or_path"] == found.config.backbone
        kind = COMPUTES[found.config.compute]
        quantised = {"quantization_config": kind.loading(torch.float32)}
        given = quantised if method == "qlora" else {}
        bare = AutoModelForCausalLM.from_pretrained(backbones("llama"), **given)
        bare = kind.finish(bare)  # else bitsandbytes repacks for bf16 where the processor has it
        plain = PeftModel.from_pretrained(bare, tmp_path / "out")
    with torch.no_grad():
        logits = plain.eval()(input_ids=ids).logits
    torch.testing.assert_close(logits, expected)
    assert not torch.allclose(logits, fresh, atol=1e-4)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").eos_token == "<|end|>"
    with pytest.raises(FedbenchError, match="not empty"):
        export(found, tmp_path / "out")
    with pytest.raises(FedbenchError, match="no adapter 'site-07'"):
        export(found, tmp_path / "new", "site-07")


@pytest.mark.parametrize("method", ["lora", "qlora", "ia3", "full"])
def test_an_export_tells_what_it_is_without_a_path_and_without_a_warning(
    configure, backbones, tmp_path, method, recwarn
):
    found = run(configure(method=method))
    recwarn.clear()
    export(found, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()

    assert [str(warning.message) for warning in recwarn] == []
    assert str(backbones("llama").parent) not in text
    assert "More Information Needed" not in text
    assert f"`{found.id}`" in text
    assert f"`{backbones('llama').name}`" in text


def test_an_export_that_fails_leaves_nothing_behind_and_can_be_tried_again(
    configure, tmp_path, monkeypatch
):
    from peft import PeftModel
    from safetensors import SafetensorError

    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device")

    found = run(configure())
    for late in ((PeftModel, "save_pretrained"), (Path, "write_text")):
        with monkeypatch.context() as patch:
            patch.setattr(*late, full)
            with pytest.raises(FedbenchError, match=r"could not be written .*No space left"):
                export(found, tmp_path / "out")
        assert not any(path for path in tmp_path.iterdir() if "out" in path.name)
    export(found, tmp_path / "out")
    assert (tmp_path / "out" / "adapter_config.json").exists()


@pytest.mark.parametrize(
    ("said", "blocks", "prefix", "emulated"),
    [
        ("computed by transformers", "transformers", "in every sequence", False),
        ("because of dropout", "fedbench", "in every sequence", False),
        ("no bf16 arithmetic", "fedbench", "once per batch", True),
        ("", "fedbench", "once per batch", False),
    ],
)
def test_what_makes_a_run_slower_is_told_once(caplog, said, blocks, prefix, emulated):
    running._tell_how.cache_clear()
    for _ in range(2):
        running._tell_how("toy", emulated, blocks, prefix)
    assert [said in record.getMessage() for record in caplog.records] == [True] * bool(said)


def test_a_run_that_is_replaced_while_it_is_looked_at_is_looked_at_again_under_its_lock(
    monkeypatch,
):
    looks = []

    def usable(config, again):
        looks.append(is_held(store.lock(config.id)))
        if len(looks) == 1:
            raise FedbenchError("manifest.json is missing")
        return True

    monkeypatch.setattr(running, "_usable", usable)
    monkeypatch.setattr(store, "load", lambda run_id: run_id)
    config = resolve(RunConfig(task="lookalike_fpb", backbone="fedbench-llama"))
    assert running.run(config) == config.id
    assert looks == [False, True]
