"""Every field of a configuration, wrong in every way, is refused by its name before work starts."""

from __future__ import annotations

import itertools
import json
from typing import get_args, get_origin

import pytest
from pydantic import BaseModel

from fedbench.cli import main
from fedbench.config import PartitionConfig, RunConfig, parse_config
from fedbench.errors import FedbenchError
from fedbench.options import _SHOWN
from fedbench.resolving import checked

TASK = {"task": "lookalike_fpb"}
#: what a part needs to be there at all
NEEDED = {"": TASK, "privacy": {"unit": "site", "clip": 1.0, "noise": 1.0}, "secure": {}}
DEEP = json.loads("[" * 200 + "]" * 200)
OF_NO_TYPE = {"a list": [[], "x"], "a mapping": {"a": 1}, "a text": "no such", "depth": DEEP,
              "much": "x" * 10**6, "not finite": float("nan"), "infinite": float("inf"),
              "a date": "2020-13-45", "huge": 10**400, "tiny": -(10**400), "less than all": -1e30,
              "half a character": "\ud800", "nothing in it": ""}  # fmt: skip


def fields():
    """Model, part and name of every field that there is, parts of parts in their turn."""
    for model, prefix in _SHOWN:
        for name, field in model.model_fields.items():
            inner = (field.annotation, *get_args(field.annotation))
            if not any(isinstance(one, type) and issubclass(one, BaseModel) for one in inner):
                yield prefix.removesuffix("."), name, field


FIELDS = [*fields()]
IDS = [f"{part}.{name}".lstrip(".") for part, name, _ in FIELDS]


def refusal(values):
    with pytest.raises(FedbenchError) as caught:
        checked(values)
    told = str(caught.value)
    assert len(told) < 20_000
    assert "\n" not in told
    return told


def with_(part, name, value):
    needed = NEEDED.get(part, {})
    return {**TASK, part: {**needed, name: value}} if part else {**TASK, name: value}


def accepts(field, value):
    """Texts are looked up in registries later, and some fields take anything of their type."""
    kinds = {field.annotation, *get_args(field.annotation), get_origin(field.annotation)}
    return isinstance(value, str) and str in kinds


@pytest.mark.parametrize("wrong", OF_NO_TYPE)
@pytest.mark.parametrize(("part", "name", "field"), FIELDS, ids=IDS)
def test_a_value_of_no_type_of_the_field_is_refused_by_its_name(part, name, field, wrong):
    value = OF_NO_TYPE[wrong]
    told = refusal(with_(part, name, value))
    if not accepts(field, value):
        assert f"{part}.{name}".lstrip(".") in told


#: what bounds a number, and by how much it is exceeded
BOUNDS = {"ge": -1, "gt": 0, "le": 1, "lt": 0}


def beyond():
    for part, name, field in FIELDS:
        for bound, by in BOUNDS.items():
            for one in field.metadata:
                if (limit := getattr(one, bound, None)) is not None:
                    yield part, name, limit + by


@pytest.mark.parametrize(("part", "name", "value"), [*beyond()])
def test_a_number_out_of_range_is_refused_by_its_name(part, name, value):
    assert f"{part}.{name}".lstrip(".") in refusal(with_(part, name, value))


def test_every_number_has_a_range_on_both_sides():
    for part, name, field in FIELDS:
        kinds = {field.annotation, *get_args(field.annotation)}
        if kinds & {int, float}:
            bounds = {
                b for one in field.metadata for b in BOUNDS if getattr(one, b, None) is not None
            }
            assert bounds & {"ge", "gt"}, (part, name)
            assert bounds & {"le", "lt"}, (part, name)


#: pairs that contradict one another, and the clause that says so
CONTRADICTIONS = {
    "no meaning in the setting local, where a federation": {"setting": "local", "secure": {}},
    "own_passes has no meaning in the setting base": {"setting": "base", "own_passes": 1},
    "own_passes = 7: it must be less": {"own_passes": 7, "passes": 7},
    "alpha is missing": {"partition": {"kind": "dirichlet"}},
    "noisy has no meaning without noise": {"partition": {"noisy": 0.1}},
    "noise or epsilon is missing": {"privacy": {"unit": "site", "clip": 1}},
    "compute = 'nf4' has no meaning": {"method": "lora", "compute": "nf4"},
    "attack = 'sign-flip' has no meaning while hostile is 0": {"attack": "sign-flip"},
    "hostile = 0.2 has no meaning": {"hostile": 0.2},
    "has no meaning on a CPU": {"optimizer": "adamw-8bit-paged"},
    "placement = sharded has no meaning": {"placement": "sharded"},
    "has no meaning: an update is a difference already": {"codec": "delta"},
    "has a meaning for changes only": {"codec_down": "top-k"},
    "may draw nobody": {"sampling": "poisson", "validated_by": "cohort", "participation": 0.5},
    "there is no task": {"task": "nope"},
    "There is no backbone": {"backbone": "nope"},
    "method = 'lorra'": {"method": "lorra"},
    "rule = 'fedavgg'": {"rule": "fedavgg"},
    "rounds = 0": {"rounds": 0},
    "batch_size = 'x'": {"batch_size": "x"},
    "bogus is not a field": {"bogus": 1},
}


def told_of(clause, told):
    return clause.casefold() in told.casefold()


@pytest.mark.parametrize("clause", CONTRADICTIONS)
def test_what_contradicts_is_refused(clause):
    assert told_of(clause, refusal(TASK | CONTRADICTIONS[clause]))


def pairs():
    for (one, left), (other, right) in itertools.combinations(CONTRADICTIONS.items(), 2):
        if not left.keys() & right.keys() and {*left, *right} != MADE_WHOLE:
            yield one, other


MADE_WHOLE = {"attack", "hostile"}  #: each is wrong without the other


@pytest.mark.parametrize(("one", "other"), [*pairs()])
def test_two_problems_are_told_at_once(one, other):
    told = refusal(TASK | CONTRADICTIONS[one] | CONTRADICTIONS[other])
    assert told_of(one, told), told
    assert told_of(other, told), told


def test_a_dozen_problems_of_all_kinds_are_told_in_one_message():
    told = refusal(
        {"task": "nope", "backbone": "nope", "method": "lorra", "rule": "fedavgg", "codec": "delta",
         "rounds": 0, "sede": 1, "own_passes": 9, "passes": 3, "attack": "sign-flip",
         "partition": {"kind": "dirichlet", "sites": 0, "noisy": 0.1},
         "privacy": {"unit": "site", "clip": -1}}
    )  # fmt: skip
    for clause in ("no task", "no backbone", "method = 'lorra'", "rule = 'fedavgg'", "rounds = 0",
                   "sede is not a field", "own_passes = 9", "attack = 'sign-flip'",
                   "alpha is missing",
                   "partition.sites = 0", "noisy has no meaning", "privacy.clip = -1",
                   "an update is a difference"):  # fmt: skip
        assert told_of(clause, told), clause
    assert told.count("rounds = 0") == 1


@pytest.mark.parametrize("values", [None, [], "task", 3, {1: 2}, {"task": "x", None: 1}])
def test_what_is_no_mapping_of_fields_is_refused(values):
    with pytest.raises(FedbenchError, match="The configuration cannot be used"):
        parse_config(values)


@pytest.mark.parametrize(("part", "name", "field"), FIELDS, ids=IDS)
def test_a_wrong_option_ends_with_2_and_a_sentence(capsys, part, name, field):
    option = f"--{part}.{name}".replace("--.", "--").replace("_", "-")
    assert (
        main(["run", *([] if name == "task" else ["--task", "nope"]), option, "[no, {such: 1}]"])
        == 2
    )
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    assert f"{part}.{name}".lstrip(".") in shown.err
    assert shown.err.count("\n") == 1


def test_nothing_is_begun_before_a_configuration_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("fedbench.running.run", lambda *_, **__: pytest.fail("it began"))
    assert main(["run", "--task", "lookalike_fpb", "--rounds", "0"]) == 2
    assert "rounds = 0" in capsys.readouterr().err


def test_fields_that_are_right_are_still_taken():
    assert checked(TASK | {"setting": "base"}).setting == "base"
    assert PartitionConfig(kind="dirichlet", alpha=0.3).alpha == 0.3
    assert RunConfig(task="x").rounds == 5
