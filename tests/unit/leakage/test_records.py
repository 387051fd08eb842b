"""Audits on disk, and the command that keeps them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fedbench.errors import FedbenchError
from fedbench.leakage import __main__ as command
from fedbench.leakage import audit, recording, records
from fedbench.leakage.audit import Plan


@pytest.fixture
def plan(audited):
    return Plan(audited.model_copy(update={"seed": 5}), shadows=2, pool=12, canaries=6, sites=3)


def given(method, seed):
    return dict.fromkeys(records._FIELDS) | {"method": method, "seed": seed}


def test_records_are_read_by_method_and_seed(tmp_path):
    for method, seed in (("lora", 10), ("ia3", 1), ("lora", 2)):
        path = records.write(given(method, seed), tmp_path)
    assert path.name == "lora_seed2.json"
    found = [(record["method"], record["seed"]) for record in records.recorded(tmp_path)]
    assert found == [("ia3", 1), ("lora", 2), ("lora", 10)]
    assert records.recorded(tmp_path / "nowhere") == []


def test_what_is_no_record_is_refused(tmp_path):
    (tmp_path / "lora_seed1.json").write_text('{"method": "lora"}')
    with pytest.raises(FedbenchError, match="no record of an audit of leaks"):
        records.recorded(tmp_path)


def test_the_command_keeps_an_audit_only_when_asked(plan, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(records.write, "__defaults__", (tmp_path / "kept",))
    monkeypatch.setattr(recording, "SIZES", (1,))
    monkeypatch.setattr(
        audit, "standard_plan", lambda method, seed, shadows: replace(plan, shadows=shadows)
    )
    asked = ["--shadows", "2", "--seed", "5"]
    assert command.main(asked) == 0
    assert not (tmp_path / "kept").exists()
    assert command.main([*asked, "--record"]) == 0
    (record,) = records.recorded(tmp_path / "kept")
    assert (record["method"], record["seed"], record["plan"]["shadows"]) == ("lora", 5, 2)
    assert record["provenance"]["command"].endswith("--method lora --shadows 2 --seed 5 --record")
    assert str(tmp_path) not in json.dumps(record["config"]["task"])
    told = capsys.readouterr()
    assert "lora_seed5.json" in told.out
    assert " left" in told.err
