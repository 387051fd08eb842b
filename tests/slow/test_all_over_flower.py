"""Over Flower's grid, whatever is combined, a federation is the same as in process, to the bit."""

from __future__ import annotations

import pytest

pytest.importorskip("flwr", reason='needs pip install "fedbench[flower]"')

from fedbench.config import RunConfig
from fedbench.resolving import resolve
from tests import bigram, combined

pytestmark = pytest.mark.slow

#: how many combinations have a meaning with each rule: 36 without those that are refused
MEANT = {"fedavg": 30, "fedprox:mu=0.1": 30, "scaffold": 20, "fedadam": 30}


@pytest.mark.parametrize("rule", MEANT)
def test_every_combination_with_a_rule(rule, tmp_path):
    base = bigram.config(rule=rule, sites=3, **combined.RULES[rule])
    found = dict(combined.combinations(base))
    assert len(found) == MEANT[rule]
    for number, config in enumerate(found.values()):
        with combined.toy_of_two_tensors(config) as world:
            combined.agree(world, tmp_path / str(number))


@pytest.mark.parametrize("rule", ["flexlora", "flora"])
def test_every_combination_with_a_rule_of_factors(rule, toy, tmp_path):
    sites = {"kind": "iid", "sites": 3, "minimum": 2}
    values = {**toy, "rule": rule, "partition": sites, "rounds": 3, "passes": 2}
    found = dict(combined.combinations(RunConfig.model_validate(values)))
    assert len(found) == 8  # it must see each update, of whole factors: no sums, nothing left out
    for number, config in enumerate(found.values()):
        with combined.toy_with_factors(resolve(config)) as world:
            combined.agree(world, tmp_path / str(number))
