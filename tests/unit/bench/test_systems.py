"""Large backbones, measured small: every way of training, the packed form, tables, predictions."""

from __future__ import annotations

import json

import pytest
import torch

from fedbench.bench import systems
from fedbench.bench.large import build, known, pack
from fedbench.bench.shapes import Work
from fedbench.bench.systems import WAYS, Load, measure
from fedbench.bench.systems_table import FIGURES, RECORDED, beside, merged, methods, recorded, save
from fedbench.errors import FedbenchError
from fedbench.models.backbones import load_model
from fedbench.report import needs
from fedbench.report.shapes import Shape
from fedbench.report.writing import numbers

TINY = Shape(32, 64, 2, 4, 2, 8, 4096, tied=False, bias=False)
LOAD = Load(["tiny"], ["tiny"], "cpu", "float32", Work(1, 1, 1, 2), repeats=1, side=16)


class Watt:
    """One watt of what is said to be measured, and a thousand of what is not."""

    def start(self):
        """Begin."""

    def stop(self):
        """Joules as if a second had passed."""
        return {"gpu": 1.0, "ram": 1000.0}

    def how(self):
        """How each is known."""
        return {"gpu": "measured (NVML)", "ram": "estimated (constant power)"}

    def grid_factor(self):
        """Of no grid."""
        return 0.0, ""


@pytest.fixture(scope="module")
def seen():
    """How many rows there were whenever the record was kept."""
    return []


@pytest.fixture(scope="module")
def record(seen):
    """Everything, at a size of thousands of parameters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedbench.energy.suite.time.sleep", lambda seconds: None)
        return measure(
            LOAD,
            {"tiny": (TINY, "llama")},
            Watt(),
            lambda kept: seen.append((len(kept["rows"]), len(kept["beside"]))),
        )


def test_every_way_is_measured_and_kept_as_soon_as_it_is(record, seen):
    assert [row["way"] for row in record["rows"]] == list(WAYS)
    assert seen == [(n, 0) for n in range(1, 6)] + [(5, n) for n in range(1, 4)]
    assert json.loads(json.dumps(record)) == record
    for row in record["rows"]:
        assert row["flops"] > 0
        assert row["tokens"] == 2 * 511
        assert row["loss"] == pytest.approx(8.3, abs=0.2)  # ln 4096: nothing is known


def test_checkpointing_makes_the_same_step(record):
    found = {row["way"]: row for row in record["rows"]}
    for way in ("lora", "qlora"):
        once, again = found[way], found[f"{way}, checkpointing"]
        assert once["loss"] == pytest.approx(again["loss"], rel=1e-6)
        assert once["trained_parameters"] == again["trained_parameters"]


def test_joules_are_those_of_measured_components_alone(record):
    (row, *_) = methods(record).to_dict("records")
    assert row["joules_per_1000_tokens"] == pytest.approx(1000 / (2 * 511), abs=0.06)
    unmeasured = {**record, "how": {"gpu": "estimated (constant)", "ram": "estimated (constant)"}}
    assert set(methods(unmeasured)["joules_per_1000_tokens"]) == {"not measured"}


def test_a_loop_of_others_is_compared_with_on_every_shape(record):
    table = beside(record)
    assert len(table) == 2 * 3
    assert (table["ratio"] > 0).all()


def test_packed_by_hand_is_packed_as_stored_weights_are():
    args = {"dtype": "float32", "device": "cpu"}
    mine = pack(load_model("fedbench-llama", compute="plain", **args), "float32")
    theirs = load_model("fedbench-llama", compute="nf4", **args)
    ids = torch.arange(24).reshape(2, 12)
    with torch.no_grad():
        assert torch.equal(mine(input_ids=ids).logits, theirs(input_ids=ids).logits)


def test_a_built_backbone_has_the_parameters_that_its_shape_says():
    for architecture, bias in (("llama", False), ("mistral", False), ("qwen2", True)):
        shape = Shape(32, 64, 2, 4, 2, 8, 4096, tied=False, bias=bias)
        assert build(shape, architecture, "cpu", "float32").num_parameters() == shape.parameters


def test_tables_in_the_repository_are_drawn_from_their_record(tmp_path):
    found = recorded(RECORDED)
    assert found
    for name, kept in found.items():
        save(kept, name, tmp_path)
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    tracked = {path.name: path.read_bytes() for path in (FIGURES).iterdir()}
    assert drawn == tracked
    assert numbers(methods(kept)) in drawn.values()


def test_the_memory_that_a_plan_predicts_is_within_15_percent_of_what_a_gpu_needed():
    load = Load([])
    for kept in recorded(RECORDED).values():
        for row in kept["rows"]:
            config = systems.configured(load, WAYS[row["way"]])
            shape, _ = known(row["backbone"])
            predicted = needs.tensors(config, systems.facts(load.work), shape)
            assert predicted == pytest.approx(row["peak_bytes"], rel=0.15)


def test_a_part_that_is_measured_again_replaces_its_own_rows_only():
    before = {"device": "one", "rows": [{"backbone": "a", "n": 1}, {"backbone": "b", "n": 2}],
              "beside": [{"backbone": "a", "n": 3}]}  # fmt: skip
    after = {"device": "one", "rows": [{"backbone": "b", "n": 4}], "beside": []}
    found = merged(before, after)
    assert found["rows"] == [{"backbone": "a", "n": 1}, {"backbone": "b", "n": 4}]
    assert found["beside"] == [{"backbone": "a", "n": 3}]
    assert merged({}, after) == after


def test_a_backbone_whose_shape_is_not_known_is_refused():
    with pytest.raises(FedbenchError, match=r"The shape of nobody/none is not known: use one of "):
        known("nobody/none")
