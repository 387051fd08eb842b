"""How a configuration names a rule and its options."""

from __future__ import annotations

import pytest

from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.resolving import resolve
from fedbench.rules import RULES, canonical, defaults, rule_of


@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_registered_under_its_own_name(name):
    assert rule_of(name).name == name
    assert rule_of(name).reduce in ("sum", "each")


@pytest.mark.parametrize("name", RULES)
def test_every_option_is_a_number_with_a_default_that_the_rule_accepts(name):
    told = ",".join(f"{key}={value!r}" for key, value in defaults(name).items())
    assert rule_of(f"{name}:{told}").name == name
    assert canonical(f"{name}:{told}") == name


def test_options_come_in_one_order_and_without_defaults():
    assert canonical("fedadam:rate=0.5,beta1=0.5,tau=0.001") == "fedadam:beta1=0.5,rate=0.5"
    config = resolve(RunConfig(task="toy", rule="fedprox:mu=0.01"))
    assert config.rule == "fedprox"
    assert config.id == resolve(RunConfig(task="toy", rule="fedprox")).id


@pytest.mark.parametrize("value", ["0.1", "1", "1e-05", "0.12345678", "0.30000000000000004"])
def test_a_name_holds_every_digit_so_that_two_rules_never_share_one(value):
    name = canonical(f"fedprox:mu={value}")
    assert float(name.partition("=")[2]) == float(value)
    assert canonical(name) == name
    assert canonical("fedprox:mu=0.1") == "fedprox:mu=0.1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fedvag", r"'fedvag' is not known, did you mean fedavg\? \(allowed: fedavg, fedprox"),
        ("fedadam:beta3=1", r"fedadam has no option 'beta3', did you mean beta2\?"),
        ("fedavg:mu=1", r"fedavg has no option 'mu' \(allowed: none\)"),
        ("fedprox:mu=much", r"mu = 'much' is no number; write fedprox:mu=0.01"),
        ("fedprox:mu=-1", r"mu must not be negative"),
        ("fedadam:beta2=1", r"beta2 must be at least 0 and below 1"),
        ("fedadam:rate=0", r"rate must be above 0"),
        ("fedadam:rate=nan", r"rate = 'nan' is no number; write fedadam:rate=0.01"),
        ("fedprox:mu=1,mu=2", r"mu is given twice"),
        ("trimmed-mean:share=0.5", r"share must be at least 0 and below 0.5"),
        ("krum:keep=1.5", r"keep must be a whole number, at least 1"),
        ("krum:hostile=-1", r"hostile must be a whole number, at least 0"),
        ("krum:hostile=inf", r"hostile = 'inf' is no number; write krum:hostile=1"),
        ("geometric-median:iterations=0", r"iterations must be a whole number, at least 1"),
        ("norm-clipping:norm=-2", r"norm must not be negative"),
    ],
)
def test_a_name_that_means_nothing_is_refused_with_a_reason(text, message):
    with pytest.raises(FedbenchError, match=message):
        resolve(RunConfig(task="toy", rule=text))


@pytest.mark.parametrize("name", ["ffa-lora", "rolora", "flexlora"])
def test_rules_for_the_factors_of_lora_refuse_other_methods(name):
    for method in ("lora", "qlora"):
        resolve(RunConfig(task="toy", rule=name, method=method))
    for method in ("ia3", "full"):
        with pytest.raises(FedbenchError, match=f"no meaning here: .* {method} has none"):
            resolve(RunConfig(task="toy", rule=name, method=method))
