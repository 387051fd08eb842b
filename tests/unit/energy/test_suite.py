"""The energy suite: what is run, what is kept, and that nothing else runs beside it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from fedbench import profiles, store
from fedbench.config import parse_config
from fedbench.energy import suite
from fedbench.energy.memory import Peaks
from fedbench.errors import FedbenchError
from fedbench.files import read_json
from fedbench.freshness import ROOT
from fedbench.locks import machine_alone, machine_shared
from fedbench.provenance import _closure
from fedbench.resolving import resolve
from fedbench.running import run


def fake(config, country):
    return {"config": config.model_dump(mode="json"), "joules": {"train": {"cpu": 1.0}}}


@pytest.fixture
def mine(tmp_path):
    """Path of a profile with a suite of two repeats of one method."""
    text = (profiles._FOLDER / "tiny.yml").read_text()
    suite_of = (
        "energy: {task: lookalike_fpb, backbone: fedbench-llama, methods: [lora], repeats: 2,"
        " country: DEU, target: 0.4}\n"
    )
    path = tmp_path / "mine.yml"
    path.write_text(text + suite_of)
    return str(path)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_every_method_gets_the_trained_settings_on_the_same_examples(home):
    planned = {}
    for config in suite._configs("smoke", profiles.read_spec("smoke").energy):
        planned.setdefault(config.method, []).append(config)
    for configs in planned.values():
        assert [c.setting for c in configs] == ["local", "federated", "centralized"]
        assert len({(c.passes, c.train_limit, c.max_tokens, c.rounds) for c in configs}) == 1
    assert set(planned) == {"lora", "qlora", "ia3"}
    assert {c.compute for c in planned["qlora"]} == {"nf4"}


def test_what_holds_4_bit_values_in_wide_layers_is_not_measured(home, mine):
    path = Path(mine)
    asked, dequantised = "methods: [lora], repeats", "methods: [qlora], repeats"
    text = path.read_text().replace("country", "common: {compute: nf4-dequantised}, country")
    path.write_text(text.replace(asked, dequantised))
    with pytest.raises(FedbenchError, match=r"asks for compute = nf4-dequantised, which says"):
        suite.measure(mine)


def test_every_run_is_a_process_of_its_own(home, mine, monkeypatch):
    asked = []
    monkeypatch.setattr(
        suite, "_in_own_process", lambda config, country: asked.append(config) or fake(config, "")
    )
    kept = suite.measure(mine)["measurements"]
    settings = ["local", "federated", "centralized"]
    assert [config.setting for config in asked] == 2 * settings
    assert [(one["config"]["setting"], one["repeat"]) for one in kept] == [
        (setting, repeat) for repeat in range(2) for setting in settings
    ]


def test_finished_runs_stay_and_the_rest_is_measured(home, mine, monkeypatch):
    done = []

    def fail_at_fifth(config, country):
        if len(done) == 4:
            raise FedbenchError("out of memory")
        done.append(config.setting)
        return fake(config, country)

    monkeypatch.setattr(suite, "_in_own_process", fail_at_fifth)
    with pytest.raises(FedbenchError, match="out of memory"):
        suite.measure(mine)
    assert len(read_json(suite.where(mine))["measurements"]) == 4
    left = []
    monkeypatch.setattr(
        suite, "_in_own_process", lambda config, country: left.append(config) or fake(config, "")
    )
    assert len(suite.measure(mine)["measurements"]) == 6
    assert [config.setting for config in left] == ["federated", "centralized"]


def test_a_second_call_measures_nothing(home, mine, monkeypatch):
    monkeypatch.setattr(suite, "_in_own_process", fake)
    first = suite.measure(mine)
    monkeypatch.setattr(suite, "_in_own_process", None)
    assert suite.measure(mine) == first


def test_other_code_measures_anew(home, mine, monkeypatch):
    monkeypatch.setattr(suite, "_in_own_process", fake)
    suite.measure(mine)
    monkeypatch.setattr(suite, "fingerprint", lambda root: "other")
    calls = []
    monkeypatch.setattr(
        suite, "_in_own_process", lambda *given: calls.append(given) or fake(*given)
    )
    assert suite.found(mine)["moved"]
    suite.measure(mine)
    assert len(calls) == 6
    assert not suite.found(mine)["moved"]


def test_code_that_measures_counts_as_much_as_code_that_runs(home, mine, monkeypatch):
    asked = []
    monkeypatch.setattr(suite, "fingerprint", lambda root: asked.append(root) or "code")
    suite.found(mine)
    monkeypatch.setattr(suite, "_in_own_process", fake)
    suite.measure(mine)
    (root,) = set(asked)
    covered = _closure(root)
    assert covered > _closure(ROOT)
    assert covered > {f"fedbench.energy.{name}" for name in ("suite", "ledger", "meters", "memory")}


def _hold(ready, leave):
    with machine_shared():
        ready.set()
        leave.wait(30)


def test_the_suite_refuses_to_share_the_machine(home):
    context = multiprocessing.get_context("fork")
    ready, leave = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(ready, leave))
    other.start()
    assert ready.wait(30)
    with pytest.raises(FedbenchError, match="wait for them"), machine_alone():
        pass
    leave.set()
    other.join()
    with machine_alone():
        pass


def _hold_alone(ready, leave):
    with machine_alone():
        ready.set()
        leave.wait(30)


def test_runs_wait_while_energy_is_measured_and_say_so(home, caplog):
    context = multiprocessing.get_context("fork")
    ready, leave = context.Event(), context.Event()
    other = context.Process(target=_hold_alone, args=(ready, leave))
    other.start()
    assert ready.wait(30)
    threading.Timer(0.3, leave.set).start()
    with machine_shared():
        assert leave.is_set()
    assert caplog.text.count("Energy is measured on this machine") == 1
    other.join()


def test_what_another_process_measured_while_this_one_waited_is_not_measured_again(
    home, mine, monkeypatch
):
    asked = []

    @contextmanager
    def after_another():
        monkeypatch.setattr(suite, "machine_alone", nullcontext)
        suite.measure(mine)
        yield

    def counted(config, country):
        asked.append(config)
        return fake(config, country)

    monkeypatch.setattr(suite, "machine_alone", after_another)
    monkeypatch.setattr(suite, "_in_own_process", counted)
    assert len(suite.measure(mine)["measurements"]) == len(asked) == 6


def test_a_profile_without_a_suite_says_so(home):
    with pytest.raises(FedbenchError, match="no energy suite"):
        suite.measure("paper")


class Steady:
    """Ten joules a segment, measured."""

    def start(self):
        pass

    def stop(self):
        return {"cpu": 10.0}

    def how(self):
        return {"cpu": "measured (stub)"}

    def grid_factor(self):
        return 400.0, "stub"


def test_a_run_is_measured_phase_by_phase_and_leaves_nothing(home, backbones, toy_task):
    config = parse_config({
        "task": toy_task, "backbone": str(backbones("llama")), "rounds": 2, "passes": 1,
        "partition": {"kind": "iid", "sites": 2, "minimum": 2}, "max_tokens": 64,
    })  # fmt: skip
    found = suite.measure_run(config, Steady())
    assert {"load", "train", "evaluate", "aggregate", "wire"} <= found["seconds"].keys()
    assert sum(found["seconds"].values()) <= found["wall_seconds"]
    assert len(found["validation"]) == 2
    assert found["tokens"] > 0
    peaks = found["peak_memory_bytes"]
    assert {"load", "train", "evaluate"} <= peaks.keys()
    assert all(10e6 < peak < 100e9 for peak in peaks.values())
    assert not (home / "runs").exists()


def test_a_run_that_the_repository_keeps_is_measured_all_the_same(
    home, backbones, toy_task, tmp_path, monkeypatch
):
    config = resolve(parse_config({
        "task": toy_task, "backbone": str(backbones("llama")), "rounds": 1, "passes": 1,
        "partition": {"kind": "iid", "sites": 2, "minimum": 2}, "max_tokens": 64,
    }))  # fmt: skip
    store.record([run(config)], tmp_path / "kept" / "own")
    monkeypatch.setattr(store, "shipped", lambda name: tmp_path / "kept")
    assert "train" in suite.measure_run(config, Steady())["seconds"]


def test_a_run_without_validation_items_is_refused_in_one_sentence():
    with pytest.raises(FedbenchError, match="raise validation_limit"):
        suite._curve([{"round": 0, "n_validation": 0, "validation_accuracy": None}])


@pytest.mark.slow
def test_a_measuring_process_that_is_killed_is_one_sentence(home, monkeypatch):
    monkeypatch.setattr(suite, "_measure_here", _die)
    config = suite._configs("smoke", profiles.read_spec("smoke").energy)[0]
    with pytest.raises(FedbenchError, match="was killed, perhaps for memory"):
        suite._in_own_process(config, "DEU")


def _die(config, country):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_memory_peak_is_billed_to_the_phase_it_falls_in():
    def use(megabytes):
        bytearray(megabytes * 1_000_000)[::4096] = b"x" * len(range(0, megabytes * 1_000_000, 4096))

    peaks = Peaks(lambda name: nullcontext(), "cpu")
    with peaks.phase("other"):
        with peaks.phase("train"):
            use(20)
        with peaks.phase("evaluate"):
            use(200)
    assert peaks.by_phase["evaluate"] - peaks.by_phase["train"] > 100e6
    assert peaks.by_phase["evaluate"] - peaks.by_phase["other"] > 100e6


def test_only_what_a_counter_watches_is_idle_power():
    class Mixed:
        def how(self):
            return {"cpu": "estimated (TDP)", "gpu": "measured (NVML)", "ram": "estimated"}

        def start(self):
            pass

        def stop(self):
            return {"cpu": 50.0, "gpu": 3.0, "ram": 9.0}

    assert suite.idle_watts(Mixed(), seconds=0.01) == pytest.approx(300)


def test_energy_is_measured_at_the_rate_that_was_tuned(home, monkeypatch):
    spec = profiles.read_spec("smoke").energy
    rates = {"local": 0.1, "federated": 0.2, "centralized": 0.3}
    cell = profiles.Cell(spec.task, spec.backbone, "ia3")
    monkeypatch.setattr(
        profiles, "tuned_values", lambda name: {cell.key: {"passes": 9, "learning_rate": rates}}
    )
    found = [c for c in suite._configs("smoke", spec) if c.method == "ia3"]
    assert {c.setting: c.learning_rate for c in found} == rates
    assert {c.passes for c in found} == {spec.common["passes"]}


def test_idle_power_is_not_guessed():
    class Estimating:
        def how(self):
            return {"cpu": "estimated (constant power)"}

    assert suite.idle_watts(Estimating()) == "not measured"
