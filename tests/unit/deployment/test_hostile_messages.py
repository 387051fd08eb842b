"""A server of ill will: whatever it asks for in a run, the policy holds and the site goes on."""

from __future__ import annotations

import pytest

pytest.importorskip("flwr")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench import site
from fedbench.deployment import guarding, lifetime
from fedbench.engines import Failure
from fedbench.hashing import sha256_bytes
from fedbench.models.backbones import digest
from fedbench.wire import framed, opened
from tests.institutions import (
    NOISY,
    OTHERS,
    OWN,
    agreed,
    nothing_spent,
    open_site,
    site_house,
    to_train,
)
from tests.payloads import TRAIN, VALIDATE, written


@pytest.mark.parametrize(
    "run", ["../x", "a" * 300, "a" * 70_000, "²" * 16, "0" * 15, "", None, 3, ["a"], "\ud800"],
    ids=lambda run: str(ascii(run))[:12],
)  # fmt: skip
def test_a_run_with_an_odd_name_is_refused_and_the_record_stays_whole(
    world, config, adapter, housed, did, run
):
    """A line of the record longer than it can be read back would end the record for good."""
    with open_site(housed()) as site:
        agreed(site, world, config)
        assert "cannot be" in site.told(framed({**VALIDATE, "run": run}, b""))[1]
        assert did == []
        assert site.told(to_train(config, adapter))[0]["kind"] == "update"
        assert [one.kind for one in site.record] == ["agree", "failure", "update"]
        assert [one.run for one in site.record] == [config.id, "unknown", config.id]


def factors(adapter):
    """The names of the factors of the first projections."""
    downs = sorted(name for name in adapter if "lora_A" in name)
    return [(down, down.replace("lora_A", "lora_B")) for down in downs]


def delta(adapter, first=1.0, *, up=None):
    """What adds to the weight of one projection, all of its numbers alike."""
    down, other = factors(adapter)[0]
    change = {f"delta/{down}": torch.full_like(adapter[down], first)}
    return change | {f"delta/{other}": torch.ones_like(adapter[other]) if up is None else up}


def with_adapter(adapter, more):
    return {f"adapter/{name}": tensor for name, tensor in adapter.items()} | more


def test_no_message_changes_the_backbone_that_the_policy_named(world, config, adapter, housed, did):
    """Else a server had the site train on weights of its own making, whatever their digest."""
    with open_site(housed()) as site:
        agreed(site, world, config)
        for header in (VALIDATE, {"kind": "result", "round": config.rounds}):
            payload = written({**header, "run": config.id}, with_adapter(adapter, delta(adapter)))
            assert "changes the backbone's weights" in site.told(payload)[1]
        assert did == []


def test_a_change_of_the_backbone_that_fits_in_part_changes_nothing(world, housed, did):
    """The first projection fits and the second does not: nothing may stay of the first."""
    config = world.config(rule="flora")
    adapter = world.adapter(config)
    _, (next_down, next_up) = factors(adapter)[:2]
    wrong = {f"delta/{next_down}": torch.ones(2, 3), f"delta/{next_up}": torch.ones(5, 2)}
    asked = {**VALIDATE, "run": config.id}
    with open_site(housed()) as site:
        agreed(site, world, config)
        before = site.told(written(asked, with_adapter(adapter, {})))[0]["loss"]
        told = delta(adapter, 5.0)
        refused = site.told(written(asked, with_adapter(adapter, told | wrong)))[1]
        assert "does not fit" in refused
        again = {**asked, "version": 1}
        assert site.told(written(again, with_adapter(adapter, {})))[0]["loss"] == before
        changed = site.told(written(asked, with_adapter(adapter, told)))[0]["loss"]
        assert changed != before
    assert did == ["validate"] * 3


@pytest.mark.parametrize("rule", ["fedavg", "flora"])
def test_tensors_that_fit_nothing_are_refused_in_words(world, housed, did, rule):
    config = world.config(rule=rule)
    adapter = world.adapter(config)
    down, up = factors(adapter)[0]
    flat = delta(adapter, up=torch.ones(2))
    with open_site(housed()) as site:
        agreed(site, world, config)
        for odd in (
            {f"adapter/{down}": torch.zeros(())},
            {f"adapter/{up}": torch.zeros(3)},
            {f"delta/{down}": torch.zeros(2, 3), f"delta/{up}": torch.zeros(5, 7)},
            {f"delta/{up}": torch.zeros(5, 7)},
            flat,
            {"delta/.lora_B.default.weight": torch.ones(2, 2)},
            {"delta/lm_head.lora_B.default.weight": torch.ones(2, 2)},
            {"elsewhere/x": torch.ones(2)},
            {"adapter/more": torch.ones(2)},
            {"\x00": torch.ones(2)},
        ):
            header, why = site.told(
                written({**VALIDATE, "run": config.id}, with_adapter(adapter, odd))
            )
            assert header == {}
            assert why.endswith("."), odd
        assert did == []


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"kind": "personalise"}, "is no part of a federation"),
        ({"kind": "steal"}, "is no part of a federation"),
        ({"kind": ["train"]}, "is no part of a federation"),
        ({"kind": "train", "round": 2}, "is of round 2, and the run has 2"),
        ({"kind": "train", "round": -1}, "is of round -1"),
        ({"kind": "train", "round": 10**30}, "and the run has 2"),
        ({"kind": "train", "round": None}, "does not name the round"),
        ({"kind": "train", "round": True}, "does not name the round"),
        ({"kind": "train", "local_passes": 9.0}, "no turn of this run can need"),
        ({"kind": "train", "local_passes": 1e9}, "largest_turn"),
        ({"kind": "train", "local_passes": float("nan")}, "largest_turn"),
        ({"kind": "train", "local_passes": -1.0}, "cannot be"),
        ({"kind": "train", "progress": [0, 2]}, "has progress"),
        ({"kind": "validate", "personal": True}, "personal adapter"),
        ({"kind": "result", "round": 0}, "is of round 0"),
        ({"kind": "result", "round": 2, "personal": True}, "personal adapter"),
        ({"kind": "share", "sites": []}, "keys that it never made"),
    ],
    ids=str,
)
def test_a_message_that_contradicts_the_run_is_refused_and_costs_nothing(
    world, adapter, housed, did, header, reason
):
    run = world.config(privacy=NOISY)
    with open_site(housed(epsilon=8.0)) as found:
        agreed(found, world, run)
        payload = to_train(run, adapter, **{"personal": False, **header})
        answered, why = found.told(payload)
        assert answered == {}
        assert reason in why
        assert found.said[-1].endswith(why)
        assert [one.kind for one in found.record] == ["agree", "failure"]
        assert did == []
        assert nothing_spent(found)


def test_to_speak_of_changes_where_a_run_tells_none_changes_nothing(
    world, config, adapter, housed, did
):
    with open_site(housed()) as found:
        agreed(found, world, config)
        usual, odd = ({}, {"form": "change", "holds": 5})
        bodies = [
            bytes(opened(found.answer(to_train(config, adapter, **header)))[1])
            for header in (usual, odd)
        ]
        assert bodies[0] == bodies[1] != b""
    assert did == ["train", "train"]


def test_validation_that_the_policy_refuses_is_not_done(world, config, adapter, housed, did):
    with open_site(housed(validation="refused")) as found:
        agreed(found, world, config)
        why = found.told(to_train(config, adapter, **VALIDATE))[1]
        assert "validation is refused" in why
    assert did == []


@pytest.mark.parametrize("sites", [["site-00"], ["site-00", "site-01"]])
def test_a_sum_over_fewer_sites_than_the_policy_says_is_not_begun(world, housed, sites):
    run = world.config(secure={"threshold": 0.9})
    asked = {"kind": "advertise", "run": run.id, "round": 0, "attempt": 1, "sites": sites}
    with open_site(housed(minimum_cohort=3, secure_aggregation="required")) as found:
        agreed(found, world, run)
        header, why = found.told(framed({**asked, "threshold": len(sites)}, b""))
        assert header == {}
        assert "minimum_cohort" in why or "at least two" in why
        three = ["site-00", "site-01", "site-02"]
        good = framed({**asked, "attempt": 2, "sites": three, "threshold": 3}, b"")
        assert found.told(good)[0]["kind"] == "advertise"
        lone = {"kind": "unmask", "run": run.id, "round": 0, "attempt": 2, "missing": []}
        assert "minimum_cohort" in found.told(framed({**lone, "arrived": ["site-00"]}, b""))[1]


def test_the_same_message_again_has_the_same_answer_and_costs_nothing(world, housed, did):
    run = world.config(privacy=NOISY)
    adapter = world.adapter(run)
    house = housed(epsilon=8.0)
    with open_site(house) as found:
        agreed(found, world, run)
        asked = to_train(run, adapter)
        first = found.answer(asked)
        spent = (house.folder / lifetime.LEDGER).read_bytes()
        assert found.answer(asked) == first
        # A turn told otherwise is another release.
        later = to_train(run, adapter, round=1, turn=1)
        assert found.told(later)[0]["kind"] == "update"
        assert "is a replay" in found.told(to_train(run, adapter, turn=1))[1]
        now = (house.folder / lifetime.LEDGER).read_bytes()
        assert now != spent
        record = found.record
    assert did == ["train", "train"]
    assert [one.kind for one in record] == ["agree", "update", "update", "update", "failure"]
    assert record[1].sha256 == record[2].sha256 == sha256_bytes(first)
    # The same after the site's process was started again.
    with open_site(house) as found:
        assert "is a replay" in found.told(asked)[1]
        assert found.told(later)[0]["kind"] == "update"
    assert did == ["train", "train"]
    assert (house.folder / lifetime.LEDGER).read_bytes() == now


def test_a_run_within_the_budget_goes_on_after_its_server_or_the_site_was_stopped(
    world, housed, did
):
    """Asked again in the middle of it, a site counts what the run has spent already once."""
    run = world.config(privacy=NOISY)
    adapter = world.adapter(run)
    sites = len(world.proposal(run).sites)
    ahead = lifetime.foreseen(housed().folder, housed(epsilon=99.0).policy, run, sites)
    house = housed(epsilon=ahead * 1.01)
    with open_site(house) as found:
        agreed(found, world, run)
        assert found.told(to_train(run, adapter))[0]["kind"] == "update"
        agreed(found, world, run)  # of a server that was started again
        assert not found.ending.refused
    with open_site(house) as found:
        header, why = found.told(to_train(run, adapter, round=1, turn=1))
        assert header.get("kind") == "update", why
        agreed(found, world, run)
        # The same run under another name is another, and too much.
        header, why = found.told(world.proposal(world.config(privacy=NOISY, seed=1)).payload())
        assert header["kind"] == "refuse"
        assert "epsilon: after this run" in why
    assert did == ["train", "train"]


def test_no_number_of_turns_exceeds_the_epsilon_of_the_data(world, housed, did):
    run = world.config(privacy={**NOISY, "noise": 3.0})
    adapter = world.adapter(run)
    house = housed(epsilon=2.0)
    with open_site(house) as found:
        agreed(found, world, run)
        told = [
            found.told(to_train(run, adapter, turn=turn, local_passes=3.9)) for turn in range(4)
        ]
        spent = lifetime.spent_of_life(house.folder, house.policy)
    answers = [header.get("kind") for header, _ in told]
    assert answers[0] == "update"
    assert answers[-1] is None
    assert told[-1][1] == "The budget of this site's data is spent."
    assert 0 < spent <= 2.0
    assert did == ["train"] * answers.count("update")


def test_a_stricter_policy_counts_for_a_run_that_was_agreed_to_before(
    world, config, adapter, housed, did
):
    with open_site(housed()) as found:
        agreed(found, world, config)
    with open_site(housed(secure_aggregation="required")) as found:
        assert "secure_aggregation is required" in found.told(to_train(config, adapter))[1]
        assert found.ending.refused
    assert did == []


def test_a_second_proposal_changes_nothing_of_what_the_policy_allows(
    world, config, adapter, housed, did
):
    """Under the same id or another: what is not allowed is refused, and the run goes on."""
    loose = world.config(rule="fedprox")
    with open_site(housed(rules=["fedavg"], minimum_cohort=3)) as found:
        agreed(found, world, config)
        for proposal in (
            world.proposal(loose),
            world.proposal(config, simulated=True),
            world.proposal(config, sites={OWN: "site-00", OTHERS[0]: "site-01"}),
        ):
            assert found.told(proposal.payload())[0]["kind"] == "refuse"
        assert "never agreed to" in found.told(to_train(loose, adapter))[1]
        assert did == []
        assert found.told(to_train(config, adapter))[0]["kind"] == "update"


def test_a_site_that_is_named_otherwise_later_answers_under_that_name(
    world, config, adapter, housed
):
    renamed = {OTHERS[0]: "site-00", OWN: "site-01", OTHERS[1]: "site-02"}
    with open_site(housed()) as found:
        agreed(found, world, config)
        assert found.told(to_train(config, adapter))[0]["site"] == "site-00"
        agreed(found, world, config, sites=renamed)
        assert found.told(to_train(config, adapter, round=1, turn=1))[0]["site"] == "site-01"


def test_a_result_is_taken_once_and_the_site_goes_on_whatever_comes_then(
    world, config, adapter, housed, did
):
    tensors = with_adapter(adapter, {})
    result = {"kind": "result", "run": config.id, "round": config.rounds}
    with open_site(housed()) as found:
        agreed(found, world, config)
        for odd in ({}, {**tensors, "adapter/x": torch.ones(1)}, {"odd/x": torch.ones(1)},
                    {name: tensor * float("nan") for name, tensor in tensors.items()}):  # fmt: skip
            assert found.told(written(result, odd))[0] == {}
        assert not found.ending.over
        assert not found.ending.why
        assert found.told(written(result, tensors))[0]["kind"] == "kept"
        assert found.ending.since
        assert not found.ending.refused
        assert "test items, the backbone answers" in found.ending.why
        folder = found.house.folder / "runs" / config.id / "adapter"
        kept = {path: path.read_bytes() for path in folder.iterdir()}
        huge = {name: tensor + 1e30 for name, tensor in tensors.items()}
        assert found.told(written(result, {}))[0] == {}
        assert found.told(written(result, huge))[0]["kind"] == "kept"
        assert {path: path.read_bytes() for path in folder.iterdir()} == kept
        assert "replay" in found.told(to_train(config, adapter))[1]
    assert did == []


def test_a_site_that_was_killed_once_it_had_the_result_ends_when_it_is_told_again(
    world, config, adapter, housed
):
    result = {"kind": "result", "run": config.id, "round": config.rounds}
    payload = written(result, with_adapter(adapter, {}))
    house = housed()
    with open_site(house) as found:
        agreed(found, world, config)
        first = found.answer(payload)
        folder = house.folder / "runs" / config.id / "adapter"
        whole = found.ending.why
    with open_site(house) as found:  # a process of its own, which has nothing but files
        assert found.answer(payload) == first
        assert found.ending.since
        assert found.ending.why == f"The federation has ended. Its adapter is in {folder}."
        assert whole.startswith(f"{found.ending.why} Of this site's own")


KINDS = ("train", "validate", "result", "advertise", "share", "unmask", "propose", "personalise")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
FIELDS = (*TRAIN, "personal", "run", "schema", "layout", "codec", "sites", "threshold", "attempt",
          "arrived", "missing", "senders", "shares", "config", "simulated")  # fmt: skip


@pytest.fixture(scope="module")
def agreeable(world, config, tmp_path_factory):
    """A site in a run under masks, which is asked for all sorts of things."""
    run = world.config(secure={"threshold": 0.6})
    backbones = {str(world.backbone): digest(str(world.backbone))}
    house = site_house(tmp_path_factory.mktemp("site"), world.task, backbones=backbones)
    with pytest.MonkeyPatch.context() as patch:
        # The record has tests of its own, and would wait for the disk each time.
        patch.setattr(guarding, "append", lambda path, entry: None)
        for kind in site._TASKS:
            patch.setitem(site._TASKS, kind, lambda *given: pytest.fail("It was done."))
        with open_site(house) as found:
            agreed(found, world, run)
            yield found, run


@settings(max_examples=40)
@given(content=st.binary(max_size=80), body=st.binary(max_size=20))
def test_any_bytes_are_answered(agreeable, content, body):
    found, _ = agreeable
    for payload in (
        content,
        b"FEDB\x02" + content,
        framed({}, content),
        content + framed({}, body),
    ):
        assert isinstance(found.answer(payload), Failure)


@settings(max_examples=50)
@given(
    kind=st.sampled_from(KINDS),
    odd=st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=3),
    body=st.binary(max_size=8),
)
def test_any_header_is_answered_and_nothing_is_trained_for_it(agreeable, kind, odd, body):
    found, run = agreeable
    header = {**TRAIN, "personal": False, "run": run.id, "codec": "fp32", "kind": kind, **odd}
    answer = found.answer(framed(header, body))
    assert isinstance(answer, Failure)
    assert answer.reason
