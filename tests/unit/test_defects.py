"""The register of the gallery: everything that is wrong on purpose stands in it, once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fedbench.config import RunConfig
from fedbench.defects import DEFECTS, defect_of, noticed_by, right_of
from fedbench.rules import RULES
from fedbench.rules.defective import DEFECTIVE as RULED
from fedbench.tasks.defective import DEFECTIVE as ASKED

TASK = "lookalike_fpb"


def wrong(name):
    rule = DEFECTS[name].rule
    return RunConfig(task=TASK, rule=name) if rule else RunConfig(task=f"{name}:{TASK}")


def test_the_gallery_shows_every_rule_and_task_that_is_wrong_on_purpose():
    assert {*DEFECTS} == {*RULED} | {*ASKED}
    assert {name for name, defect in DEFECTS.items() if defect.rule} == {*RULED}
    assert [name for name, defect in DEFECTS.items() if defect.best] == ["defect-best-round"]
    ours = [name for name, defect in DEFECTS.items() if defect.ours]
    assert ours == [name for name in DEFECTS if DEFECTS[name].after.startswith("nobody")]
    assert ours == ["defect-leaky-half"]


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_knows_what_it_spoils(name):
    assert defect_of(wrong(name)) is DEFECTS[name]
    right = right_of(wrong(name))
    assert not right.defective
    assert right == RunConfig(task=TASK, rule=DEFECTS[name].rule or "fedavg")
    assert DEFECTS[name].rule in {"", *RULES}
    assert DEFECTS[name].right != DEFECTS[name].wrong


def test_each_is_noticed_by_what_is_made_for_it():
    assert {name: noticed_by(wrong(name)) for name in DEFECTS} == {
        "defect-first-site": "conformance: order, all heard, weight",
        "defect-transposed-residual": "conformance: exact, unequal ranks",
        "defect-residual-without-scale": "conformance: exact, unequal ranks",
        "defect-stack-without-scale": "conformance: no drift, one site, memory, exact, "
        "fewer ranks, unequal ranks",
        "defect-leaky-tenth": "audit: 55 groups of the test split are outside it as well",
        "defect-leaky-half": "audit: 274 groups of the test split are outside it as well",
        "defect-other-prompt": "audit: 547 of 547 test items are asked unlike training",
        "defect-best-round": "audit: 547 groups of the test split are outside it as well",
    }


def test_two_defects_at_once_are_both_noticed():
    both = RunConfig(task=f"defect-leaky-half:{TASK}", rule="defect-first-site")
    assert noticed_by(both).startswith("audit: 274")
    assert noticed_by(both).endswith("; conformance: order, all heard, weight")


def test_what_is_right_is_noticed_by_nothing():
    assert noticed_by(RunConfig(task=TASK)) == "nothing"


def test_reading_the_register_does_not_import_torch():
    code = "import sys, fedbench.defects; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
