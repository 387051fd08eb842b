"""Rules that are wrong on purpose: each differs from the right one in just what it says."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from fedbench.config import DEFECT, RunConfig
from fedbench.conformance.checks import examine
from fedbench.conformance.subject import subject_of
from fedbench.errors import FedbenchError
from fedbench.resolving import resolve
from fedbench.rules import RULES, rule_of
from fedbench.rules.defective import DEFECTIVE
from fedbench.rules.rule import Work
from fedbench.rules.validity import refusals, table

RANK, ALPHA = 2, 6.0
CONFIG = SimpleNamespace(method="lora", participation=1.0, rank=RANK, alpha=ALPHA)
SHAPES = {"q_proj": (5, 5), "down_proj": (4, 7)}
#: the right rule, and the check that sees what is wrong
CAUGHT = {
    "defect-first-site": ("fedavg", {"order", "all heard", "weight"}),
    "defect-transposed-residual": ("fedex-lora", {"exact", "unequal ranks"}),
    "defect-residual-without-scale": ("fedex-lora", {"exact", "unequal ranks"}),
    "defect-stack-without-scale": (
        "flora",
        {"no drift", "one site", "memory", "exact", "fewer ranks", "unequal ranks"},
    ),
}


def adapter(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{module}.lora_{factor}.default.weight": torch.randn(shape, generator=generator)
        for module, (out, width) in SHAPES.items()
        for factor, shape in (("A", (RANK, width)), ("B", (out, RANK)))
    }


def told_after(name, rounds=2):
    """What the server tells a site after rounds of three sites with 1, 2 and 3 examples."""
    rule = rule_of(name)
    state = rule.init(adapter(0), CONFIG)
    for number in range(rounds):
        heard = []
        for site in (1, 2, 3):
            message = rule.broadcast(state, "site")
            step = adapter(10 * number + site)
            trained = {n: value + step[n] for n, value in message.adapter.items()}
            heard.append(rule.upload(message, trained, {}, Work(site, 2, 0.5))[0])
        state = rule.server(state, iter(heard))
    return rule.broadcast(state, "site")


def change(message, module):
    """B A of what was added to the weight of a module."""
    up, down = (message.delta[f"{module}.lora_{factor}.default.weight"] for factor in "BA")
    return up @ down


def same(found, expected):
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_only_the_first_site_moves_the_adapter():
    expected = {n: value + adapter(1)[n] for n, value in adapter(0).items()}
    found = told_after("defect-first-site", rounds=1).adapter
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_residual_is_transposed_where_a_projection_is_square_and_right_elsewhere():
    right, wrong = told_after("fedex-lora"), told_after("defect-transposed-residual")
    assert same(change(wrong, "q_proj"), change(right, "q_proj").T)
    assert not same(change(wrong, "q_proj"), change(right, "q_proj"))
    assert same(change(wrong, "down_proj"), change(right, "down_proj"))
    assert all(same(wrong.adapter[name], value) for name, value in right.adapter.items())


@pytest.mark.parametrize(
    ("name", "of"),
    [("defect-residual-without-scale", "fedex-lora"), ("defect-stack-without-scale", "flora")],
)
def test_what_is_added_to_the_weights_lacks_alpha_over_r(name, of):
    right, wrong = told_after(of), told_after(name)
    for module in SHAPES:
        assert same(change(wrong, module) * ALPHA / RANK, change(right, module))
    assert wrong.adapter.keys() == right.adapter.keys()
    assert all(same(wrong.adapter[name], value) for name, value in right.adapter.items())


@pytest.mark.parametrize("name", DEFECTIVE)
def test_conformance_catches_it_and_only_by_what_is_wrong(name):
    of, checks = CAUGHT[name]
    failed = {f.check.name for f in examine(subject_of(name)) if f.verdict == "failed"}
    assert failed == checks
    assert rule_of(name).claims == rule_of(of).claims


@pytest.mark.parametrize("name", DEFECTIVE)
def test_its_name_says_that_it_is_wrong_and_is_listed_nowhere(name):
    assert name.startswith(DEFECT)
    assert rule_of(name).name == name
    assert name not in RULES
    assert name not in str(table()) + str(refusals())
    assert resolve(RunConfig(task="toy", rule=name)).defective
    with pytest.raises(FedbenchError) as refused:
        rule_of(f"{name}s")
    assert name not in str(refused.value).replace(f"{name}s", "")


def test_a_defect_refuses_what_the_right_rule_refuses():
    for name, (of, _) in CAUGHT.items():
        assert rule_of(name).refuses is rule_of(of).refuses


def test_finding_one_does_not_import_torch():
    code = (
        "import sys; from fedbench.rules import rule_of; rule_of('defect-first-site'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
