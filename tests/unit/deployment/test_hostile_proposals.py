"""A server of ill will: whatever it proposes, the site's policy holds."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("flwr")


from fedbench.deployment import at_site, door
from fedbench.errors import FedbenchError
from fedbench.wire import framed, opened, seal
from tests.institutions import (
    NOISY,
    OTHERS,
    OWN,
    agreed,
    nothing_spent,
    open_site,
    to_train,
)


@pytest.mark.parametrize(
    "sites",
    [
        {OWN: "../../elsewhere", OTHERS[0]: "site-01"},
        {OWN: "/tmp/elsewhere", OTHERS[0]: "site-01"},
        {OWN: "site-00\n", OTHERS[0]: "site-01"},
        {OWN: "", OTHERS[0]: "site-01"},
        {OWN: ["site-00"], OTHERS[0]: "site-01"},
        {OWN: "site-00", OTHERS[0]: "site-00", OTHERS[1]: "site-00"},
        {OWN: "site-00", "one": "site-01", "two": "site-02"},
        {},
        {f"{n:064x}": f"site-{n:05d}" for n in range(10_001)},
    ],
    ids=["above", "root", "line", "empty", "list", "thrice", "keys", "none", "many"],
)
def test_sites_have_names_like_ours_or_nothing_is_agreed_to(
    world, config, housed, did, tmp_path, sites
):
    before = {*tmp_path.parent.rglob("*")}
    with open_site(housed()) as site:
        header, why = site.told(world.proposal(config, sites=sites).payload())
        assert header == {}
        assert why.startswith("A proposal has")
        assert len(why) < 600
    new = {*tmp_path.parent.rglob("*")} - before
    assert all(tmp_path / "site" in path.parents or path == tmp_path / "site" for path in new)
    assert did == []


SECURE = {"secure": {"threshold": 0.6}}
UNTOLD = {"unit": "example", "clip": 1.0, "epsilon": 1.0, "examples": 40}


@pytest.mark.parametrize(
    ("policy", "values", "reason"),
    [
        ({}, {"setting": "local"}, "setting = 'local' is for simulations"),
        ({}, {"labels": "shuffled"}, "labels = 'shuffled' is for simulations"),
        ({}, {"attack": "sign-flip", "hostile": 0.3}, "hostile = 0.3 is for simulations"),
        ({}, {"faults": "silent:rate=0.1", "policy": {"deadline": 60}}, "faults = 'silent"),
        ({}, {"own_passes": 1}, "own_passes = 1 is for simulations"),
        ({}, {"partition": {"sites": 3, "noise": 0.5}}, "partition.noise = 0.5"),
        ({"rules": ["fedprox"]}, {}, "rules: the run has rule 'fedavg'"),
        ({"codecs": ["fp32"]}, {"codec": "ef+top-k:share=0.1"}, "codecs: the run has codec 'ef'"),
        ({"methods": ["ia3"]}, {}, "methods: the run has method 'lora'"),
        ({"backbones": {"hub/model": "0" * 64}}, {}, "backbones: the run has backbone"),
        ({"backbones": None}, {}, "backbones: the run has backbone"),
        ({"secure_aggregation": "required"}, {}, "secure_aggregation is required"),
        ({"minimum_cohort": 4}, {}, "minimum_cohort: a cohort of the run has 3 sites"),
        ({"minimum_cohort": 3}, SECURE, "a sum may be over 2 sites of 3"),
        ({}, {"participation": 0.3}, "minimum_cohort"),
        ({"epsilon": 8.0}, {}, "epsilon: .*the run has no privacy"),
        ({"epsilon": 8.0}, {"privacy": {**NOISY, "noise": 1e-9}}, "epsilon: after this run"),
        ({"epsilon": 8.0}, {"privacy": {**NOISY, "noise": 0.3}}, "epsilon: after this run"),
        ({"epsilon": 8.0}, {"privacy": UNTOLD}, "privacy.noise is left open"),
        ({"epsilon": 8.0}, {"privacy": UNTOLD, "rounds": 10**6, "passes": 1e4}, "is left open"),
        ({"largest_turn": 40}, {}, "largest_turn: a turn of the run would process 44"),
        ({}, {"passes": 1e6, "rounds": 1}, "largest_turn"),
        ({}, {"device": "cuda"}, "There is no CUDA device here"),
    ],
)  # fmt: skip
def test_a_run_that_the_policy_forbids_is_refused_with_its_reason(
    world, config, adapter, housed, did, policy, values, reason
):
    with open_site(housed(**policy)) as found:
        asked = config.model_copy(update={"device": "cuda"})
        run = asked if "device" in values else world.config(**values)
        payload = world.proposal(run).payload()
        header, why = found.told(payload)
        assert header["kind"] == "refuse"
        assert re.search(reason, why), why
        # Nothing of it is let in afterwards, whatever the server believes.
        assert "never agreed to" in found.told(to_train(run, adapter))[1]
        assert found.ending.refused
        assert nothing_spent(found)
        assert [one.kind for one in found.record] == ["refuse", "failure"]
        assert found.record[0].answers == seal(payload)
        assert not (found.house.folder / "runs").exists()
    assert did == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"simulated": True}, "A simulation is proposed"),
        ({"task": "0" * 64}, "asks the task toy otherwise"),
        ({"backbone": "0" * 64}, "is another than the one here"),
        ({"sites": {OTHERS[0]: "site-00", OTHERS[1]: "site-01"}}, "does not name this site"),
        ({"sites": {OWN: "site-00"}}, "minimum_cohort: a cohort of the run has 1 sites"),
    ],
)
def test_a_proposal_that_means_something_else_is_refused(
    world, config, housed, did, changes, reason
):
    with open_site(housed()) as found:
        header, why = found.told(world.proposal(config, **changes).payload())
        assert header["kind"] == "refuse"
        assert reason in why
        assert found.ending.refused
        assert reason in found.ending.why
    assert did == []


def test_a_run_that_asks_for_more_examples_than_the_site_has_is_refused_and_the_site_ends(
    world, housed, did
):
    run = world.config(partition={"kind": "iid", "sites": 3, "minimum": 10**6})
    with open_site(housed()) as found:
        header, why = found.told(world.proposal(run).payload())
        assert header["kind"] == "refuse"
        assert "needs partition.minimum = 1000000" in why
        assert found.ending.refused
        assert found.ending.why == why
    assert did == []


def test_a_run_that_the_site_can_be_in_no_more_is_refused_in_words_and_the_site_ends(
    world, config, adapter, housed, did, monkeypatch
):
    """A site that was stopped has fewer examples when it comes back."""
    with open_site(housed()) as found:
        agreed(found, world, config)
    with open_site(housed()) as found:
        monkeypatch.setattr(at_site, "attached", lambda config: _fewer())
        assert found.told(to_train(config, adapter)) == ({}, "There are fewer.")
        assert found.ending.refused
        assert found.ending.why == "There are fewer."
        assert [one.kind for one in found.record] == ["agree", "failure"]
    assert did == []


def _fewer():
    raise FedbenchError("There are fewer.")


def test_a_run_of_another_task_than_the_site_was_started_with_is_refused(
    world, config, housed, did
):
    """The name of one task with the digest of another."""
    for task in ("triage", "toy:text", "toy:\x1b[2J"):
        run = config.model_copy(update={"task": task})
        with open_site(housed()) as found:
            assert "this site's own is toy" in found.told(world.proposal(run).payload())[1]
            assert not any("\x1b" in said for said in found.said)


@pytest.mark.parametrize(
    "changes",
    [
        {"run": "0" * 16}, {"run": None}, {"config": {}}, {"config": []}, {"config": None},
        {"sites": []}, {"simulated": 0}, {"simulated": "false"}, {"task": 3}, {"nonce": "x"},
        {"nonce": "0" * 10**5},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_proposal_is_refused_in_a_sentence(world, config, housed, changes):
    header, _ = opened(world.proposal(config).payload())
    with open_site(housed()) as found:
        answered, why = found.told(framed({**header, **changes}, b""))
        assert answered == {}
        assert why.endswith(".")
        assert len(why) < 2000


def test_a_configuration_left_unresolved_is_refused(world, config, housed):
    header, _ = opened(world.proposal(config).payload())
    loose = {**header["config"], "compute": None}
    odd = {**header["config"], "validated_by": "cohort"}  # all are in every cohort
    with open_site(housed()) as found:
        assert "cannot be used" in found.told(framed({**header, "config": loose}, b""))[1]
        run = config.model_copy(update={"validated_by": "cohort"})
        why = found.told(framed({**header, "config": odd, "run": run.id}, b""))[1]
        assert "not in the form that configurations have" in why


def test_nothing_that_a_proposal_names_is_fetched_before_the_policy_was_asked(
    world, config, housed, monkeypatch
):
    from fedbench.models import backbones

    monkeypatch.setattr(backbones, "_from_hub", lambda name: pytest.fail(f"{name} was fetched"))
    for values in ({"backbone": "evil/model"}, {"backbone": "evil/model:random"},
                   {"task": "medqa"}, {"task": "/etc/passwd.yml"}):  # fmt: skip
        run = config.model_copy(update=values)
        with open_site(housed()) as found:
            proposal = world.proposal(config).header() | {
                "config": run.model_dump(mode="json"), "run": run.id, "nonce": "0" * 32
            }  # fmt: skip
            assert found.told(framed(proposal, b""))[0]["kind"] == "refuse"


def test_a_proposal_larger_than_allowed_is_not_even_read(world, config, housed, monkeypatch):
    payload = world.proposal(config).payload()
    with open_site(housed(largest_payload=len(payload) - 1)) as found:
        monkeypatch.setattr(door, "opened", lambda payload: pytest.fail("It was read."))
        assert "largest_payload" in found.told(payload)[1]
        assert [one.kind for one in found.record] == ["failure"]


def test_an_agreement_is_kept_without_what_else_a_server_said(world, config, housed):
    header, _ = opened(world.proposal(config).payload())
    with open_site(housed()) as found:
        assert found.told(framed({**header, "more": "x" * 10**6}, b""))[0]["kind"] == "agree"
    kept = found.house.folder / "runs" / config.id / "agreed.json"
    assert kept.stat().st_size < 10_000


def test_runs_without_end_are_not_agreed_to(world, housed, monkeypatch):
    monkeypatch.setattr(door, "MOST", 2)
    with open_site(housed()) as found:
        for seed in range(2):
            agreed(found, world, world.config(seed=seed))
        header, why = found.told(world.proposal(world.config(seed=2)).payload())
        assert header["kind"] == "refuse"
        assert "2 runs, which it keeps" in why
        assert found.ending.refused
        assert found.ending.why == why
        agreed(found, world, world.config(seed=1))
