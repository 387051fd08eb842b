"""Faults are named with their rates, drawn by attempt, and refused where they have no meaning."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest

from fedbench.engines.answering import Struck
from fedbench.errors import FedbenchError
from fedbench.faults import FAULTS, canonical, faults_of, sources, wrong_with
from fedbench.faults.fault import UNHARMED, Mishap
from fedbench.faults.plan import happened, seconds_waited, strike
from fedbench.resolving import resolve
from fedbench.streams import generator
from tests import bigram

LATE = "late:rate=0.2,seconds=90"


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("silnt", "'silnt' is not known, did you mean silent?"),
        ("silent:rate=0", "rate must be above 0 and at most 1"),
        ("crash:rate=1.5", "rate must be above 0 and at most 1"),
        ("late:seconds=0", "seconds must be above 0"),
        ("memory:holds=0.5", "holds must be a whole number"),
        ("late:rate=0.1+late:rate=0.2", "late is named twice"),
        ("twice:times=3", "twice has no option 'times'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_a_clause(text, clause):
    assert clause in wrong_with(text)
    with pytest.raises(FedbenchError, match="There is no such choice: faults = "):
        resolve(bigram.config(faults=text))


def test_a_plan_has_one_form_however_it_is_written():
    assert canonical("silent:rate=0.1+crash:rate=0.05") == "crash:rate=0.05+silent"
    assert canonical("late:seconds=90,rate=0.2") == "late:rate=0.2"
    assert canonical("none") == "none"


def test_the_code_of_the_faults_that_are_named_counts():
    assert sources("silent+crash") == {"fedbench.faults.silent", "fedbench.faults.crash"}
    assert not sources("none")


def test_what_befalls_an_attempt_is_a_function_of_who_when_and_how_often():
    config = bigram.config(faults="+".join(f"{kind}:rate=0.5" for kind in FAULTS))
    keys = [(round_, f"site-{s:02d}", a) for round_ in range(4) for s in range(4) for a in range(4)]
    kinds = [strike(config, *key).kinds for key in keys]
    assert kinds == [strike(config, *key).kinds for key in keys]
    assert len({*kinds}) > 30
    other = config.model_copy(update={"seed": 1})
    assert kinds != [strike(other, *key).kinds for key in keys]


def test_a_fault_befalls_as_many_attempts_as_its_rate_says_and_no_other_fault_moves_it():
    alone = bigram.config(faults="silent:rate=0.2")
    among = bigram.config(faults="crash:rate=0.5+silent:rate=0.2")
    struck = [
        tuple(strike(config, r, "site-00", 0).lost for config in (alone, among))
        for r in range(1000)
    ]
    assert all(one == other for one, other in struck)
    assert 160 < Counter(struck)[True, True] < 240


def test_a_server_waits_for_who_is_silent_or_late_and_for_nobody_else():
    of = {kind: faults_of(kind)[kind].strikes(UNHARMED, generator("test")) for kind in FAULTS}
    assert {kind: seconds_waited(one, 60.0) for kind, one in of.items()} == {
        **dict.fromkeys(FAULTS, 0.0),
        "silent": 60.0,
        "late": 60.0,
    }
    assert seconds_waited(of["late"], None) == 90.0
    assert seconds_waited(of["late"], 100.0) == 90.0
    gone = faults_of("drop-out")["drop-out"].strikes(of["late"], generator("test"))
    assert seconds_waited(gone, None) == 0.0  # who has gone is not waited for


def test_a_round_without_faults_says_nothing_of_them():
    assert happened(bigram.config(), 0, [["site-00"], ["site-00"]]) == {}


@pytest.mark.parametrize(
    ("values", "clause"),
    [
        ({"faults": "silent"}, "needs policy.deadline: without one the server would wait for ever"),
        ({"policy": {"deadline": 60}}, "policy.deadline has no meaning where nobody is late"),
        ({"policy": {"deadline": 60}, "faults": "crash"}, "policy.deadline has no meaning"),
        ({"policy": {"minimum": 3}}, "policy.minimum = 3 can never be reached: a cohort has at"),
        (
            {"policy": {"minimum": 2}, "partition": {"sites": 4}, "participation": 0.25},
            "at most 1 of 4 sites: take 1 or less",
        ),
        (
            {"policy": {"minimum": 2}, "privacy": {"unit": "site", "clip": 1.0, "noise": 1.0}},
            "policy.minimum has no meaning with privacy.unit = 'site'",
        ),
        ({"policy": {"retries": 1}, "secure": {"bound": 1.0}}, "policy.retries has no meaning"),
        (
            {
                "faults": "memory",
                "privacy": {"unit": "example", "clip": 1.0, "noise": 1.0, "examples": 4},
            },
            "faults = 'memory' has no meaning with privacy.unit = 'example'",
        ),
        *(
            ({"setting": setting, **given}, f"no meaning in the setting {setting}")
            for setting in ("base", "local", "centralized")
            for given in ({"faults": "crash"}, {"policy": {"retries": 1}})
        ),
    ],
)
def test_what_contradicts_itself_is_refused_before_any_work(values, clause):
    with pytest.raises(FedbenchError, match="There is no such choice") as caught:
        resolve(bigram.config(**values))
    assert clause in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"faults": LATE},  # it is waited for
        {"faults": LATE, "policy": {"deadline": 60}},
        {"policy": {"retries": 2}},  # what is refused is asked for again
        {"faults": "crash", "secure": {"bound": 1.0}},
        {"policy": {"minimum": 2}, "sampling": "poisson", "participation": 0.3},
    ],
)
def test_what_has_a_meaning_is_not_refused(values):
    resolve(bigram.config(**values))


def test_a_message_that_is_struck_is_the_same_bytes_in_another_process_too():
    struck = pickle.loads(pickle.dumps(Struck(b"message", Mishap(crash=0.5))))
    assert (struck, struck.mishap) == (b"message", Mishap(crash=0.5))
