"""Where time goes: groups of operators, what is left of a whole, shares."""

from __future__ import annotations

import pytest

from fedbench.bench.profiling import Part, group_of, grouped, lines, operators, parts, with_rest
from fedbench.bench.seconds import observed_seconds
from fedbench.bench.shapes import SHAPES
from fedbench.phases import phase
from tests.unit.bench.conftest import SIZE, WORK


@pytest.mark.parametrize(
    ("operator", "group"),
    [
        ("aten::mm", "matrix products"),
        ("aten::addmm_", "matrix products"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention"),
        ("aten::mul", "element-wise"),
        ("aten::silu_backward", "element-wise"),
        ("aten::cat", "copies and views"),
        ("aten::_fused_adamw_", "optimizer and clipping"),
        ("aten::_foreach_norm", "optimizer and clipping"),
        ("_LoraLinearBackward", None),
        ("autograd::engine::evaluate_function: MulBackward0", None),
    ],
)
def test_an_operator_belongs_to_one_group(operator, group):
    assert group_of(operator) == group


def test_times_of_a_group_are_added_and_the_rest_makes_up_the_whole():
    known = grouped({"aten::mm": 2.0, "aten::addmm": 1.0, "aten::mul": 1.0, "Python": 9.0})
    found = with_rest(known, whole=8.0, steps=2)
    assert found["matrix products"] == 1.5
    assert found["element-wise"] == 0.5
    assert found["Python and autograd"] == 2.0
    assert sum(found.values()) == 4.0


def test_parts_come_with_their_shares_the_greatest_first():
    assert parts({"a": 1.0, "b": 3.0}) == [Part("b", 3.0, 0.75), Part("a", 1.0, 0.25)]
    assert "b    3000.00 ms   75.0 %" in lines("x", parts({"a": 1.0, "b": 3.0}), "ms", 1000.0)


def test_seconds_are_noted_by_phase_once_the_block_has_ended():
    with observed_seconds() as seconds, phase("train"), phase("wire"):
        pass
    assert seconds.keys() >= {"train", "wire", "other"}


def test_a_step_is_taken_apart():
    found = {part.name: part for part in operators(SIZE, SHAPES["long answers"], WORK)}
    assert found["matrix products"].seconds > 0
    assert found["attention"].seconds > 0
    assert sum(part.share for part in found.values()) == pytest.approx(1)
