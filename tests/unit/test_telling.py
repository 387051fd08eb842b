"""What is said after a run of its wire."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedbench.config import RunConfig
from fedbench.store import Run
from fedbench.telling import of_the_wire

ROUNDS = (
    {"round": 0, "cohort": ["a", "b", "c"], "bytes_up": 3_000_000, "epsilon": {"a": 3.0, "b": 2.5}},
    {"round": 1, "cohort": ["a", "b"], "bytes_up": 3_000_000, "epsilon": {"a": 3.5},
     "refused": {"c": "Its reply is a replay."}},
    {"round": 2, "cohort": ["a", "b"], "bytes_up": 0, "refused": {"c": "It is late."}},
)  # fmt: skip
BYTES = {"bytes_up": 9_000_000, "bytes_down": 18_000_000, "bytes_validation": 4_500_000}


@pytest.fixture
def run(tmp_path):
    def made(metrics=None, **values):
        config = RunConfig(task="lookalike_fpb", **values)
        sites = tuple({"site": name} for name in "abc")
        return Run(config, {**BYTES, **(metrics or {})}, ROUNDS, sites, {}, tmp_path)

    return made


def said(run):
    return "\n".join(of_the_wire(run))


def test_bytes_are_those_of_one_site_and_round_whoever_was_refused(run):
    assert "1 sent, 2 received, 0.5 more both ways" in said(run())


def test_the_first_reason_of_a_site_that_was_not_counted_is_told(run):
    assert "not counted in round 2: c: Its reply is a replay." in said(run())
    assert "It is late." not in said(run())


def test_keys_and_shares_are_told_apart_and_a_codec_under_masks_is_said_to_save_nothing(run):
    told = said(run({"bytes_keys": 800_000, "bytes_unmask": 100_000}, secure={}, codec="int8"))
    assert "0.1 of keys and shares" in told
    assert "32 bits, whatever the codec: int8" in told


def test_a_byte_budget_says_how_far_it_went(run):
    told = said(run(byte_budget=20_000_000, rounds=5))
    assert "31.5 of 20.0 MB in 3 of 5 rounds" in told


@pytest.mark.parametrize(
    ("setting", "told"), [("local", "nothing leaves"), ("centralized", "all examples leave")]
)
def test_settings_in_which_nobody_sends_updates_say_what_leaves_in_them(run, setting, told):
    assert told in said(run(setting=setting))
    assert "sent" not in said(run(setting=setting))


def test_epsilon_is_the_greatest_of_any_site_and_said_to_protect_nobody(run):
    told = said(run(privacy={"unit": "site", "clip": 1, "epsilon": 8}))
    assert "epsilon: 3.5 at delta 1e-05 for one site, of simulated noise" in told


def test_hostile_sites_are_named_with_what_they_got(run):
    attack = {"hostile": ["c"], "n": 19, "success": 0.63, "success_without_trigger": 0.5}
    assert "hostile: c (1 of 3 sites); got the answer it was after on 63 %" in said(
        run({"attack": attack}, attack="sign-flip", hostile=0.3)
    )


def test_what_faults_came_to_is_said_and_nothing_where_nobody_failed(run):
    failing = {
        "round": 0,
        "cohort": ["a"],
        "refused": {"b": "It did not answer."},
        "faults": {"b": ["silent", "silent"], "a": ["late", ""]},
        "asked_again": {"b": ["Lost."], "a": ["Lost."]},
        "waited": 120.0,
    }
    found = run()
    assert "faults:" not in said(found)
    told = said(replace(found, rounds=(failing, *found.rounds)))
    assert "sites were asked again 2 times, 3 answers were lost in the end, 0 rounds" in told
    assert "120 simulated seconds waited" in told


def test_of_a_run_without_rounds_nothing_is_said(run):
    assert said(replace(run(setting="base"), rounds=())) == ""
