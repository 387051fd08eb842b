"""A site's own policy: who may have written it, what it allows, and what no server gets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from torch import nn

from fedbench.config import RunConfig, parse_config
from fedbench.deployment.hurrying import within
from fedbench.deployment.policy import (
    SitePolicy,
    check_message,
    check_size,
    read_policy,
    refusals,
)
from fedbench.errors import FedbenchError
from fedbench.models.backbones import digest
from fedbench.resolving import checked
from fedbench.wire import BadPayload

HASH = "0123456789abcdef" * 4
OPEN = SitePolicy(secure_aggregation="allowed")
PRIVATE = {"unit": "example", "clip": 1.0, "noise": 1.0, "examples": 100}


def proposed(**values):
    return parse_config({"task": "lookalike_fpb", **values})


def refused(policy=OPEN, *, here=digest, sites=8, foreseen=None, **values):
    return refusals(
        policy,
        proposed(**values),
        backbone=here,
        sites=sites,
        examples=100,
        foreseen=foreseen,
    )


def only(found, *parts):
    assert len(found) == 1, found
    assert all(part in found[0] for part in parts), found
    assert found[0].endswith(".")


@pytest.fixture
def folder(tmp_path):
    """A folder that only this user can write, whatever the mask of new files is."""
    made = tmp_path / "site"
    made.mkdir(mode=0o700)
    return made


def policy_file(folder, text="methods: [lora]\n", mode=0o600):
    path = folder / "policy.yml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_policy_is_read_and_what_it_leaves_out_is_careful(folder):
    found = read_policy(policy_file(folder))
    assert found == SitePolicy(methods=("lora",))
    assert found.secure_aggregation == "required"
    assert (found.minimum_cohort, found.largest_payload, found.longest_round) == (2, 2**30, 3600)


@pytest.mark.parametrize(("mode", "who"), [(0o660, "its group"), (0o602, "everybody")])
def test_a_policy_that_others_can_write_is_refused_with_the_remedy(folder, mode, who):
    path = policy_file(folder, mode=mode)
    with pytest.raises(FedbenchError, match=rf"written by {who}.*chmod go-w {path}"):
        read_policy(path)
    path.chmod(0o644)
    assert read_policy(path)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_folder_that_others_can_write_is_refused_with_the_remedy(folder, mode):
    path = policy_file(folder)
    folder.chmod(mode)
    with pytest.raises(FedbenchError, match=rf"chmod go-w {folder}\."):
        read_policy(path)


def test_a_folder_above_that_others_can_write_is_refused_unless_they_can_remove_only_theirs(
    folder,
):
    inner = folder / "inner"
    inner.mkdir(mode=0o700)
    path = policy_file(inner)
    folder.chmod(0o777)
    with pytest.raises(FedbenchError, match=rf"chmod go-w {folder}\."):
        read_policy(path)
    folder.chmod(0o1777)
    assert read_policy(path)


def test_a_link_counts_by_where_it_leads_and_by_where_it_lies(folder, tmp_path):
    path = policy_file(folder)
    link = tmp_path / "link.yml"
    link.symlink_to(path)
    assert read_policy(link)
    path.chmod(0o666)
    with pytest.raises(FedbenchError, match=rf"chmod go-w {path}"):
        read_policy(link)
    path.chmod(0o600)
    tmp_path.chmod(0o777)
    with pytest.raises(FedbenchError, match=rf"chmod go-w {tmp_path}"):
        read_policy(link)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to somebody else")
@pytest.mark.parametrize("of", ["file", "folder"])
def test_a_policy_of_another_user_is_refused(folder, of):
    path = policy_file(folder)
    os.chown(path if of == "file" else folder, 12345, -1)
    with pytest.raises(FedbenchError, match=r"belongs to another user \(number 12345\).*chown"):
        read_policy(path)


def test_a_policy_that_is_missing_is_told(folder):
    with pytest.raises(FedbenchError, match=r"policy.yml does not exist"):
        read_policy(folder / "policy.yml")


def test_all_that_is_wrong_with_a_policy_is_told_at_once(folder):
    text = """
        rule: fedavg
        rules: [fedagv, "fedprox:mu=1", defect-first-site]
        codecs: []
        methods: [lora]
        backbones: {tiny: abc}
        minimum_cohort: 0
        largest_payload: none
        longest_round: .inf
        """
    with pytest.raises(FedbenchError) as caught:
        read_policy(policy_file(folder, text))
    said = str(caught.value)
    assert str(folder / "policy.yml") in said
    for part in (
        *("rule is not a field, did you mean rules?", "'defect-first-site' is wrong on purpose"),
        *("'fedagv' is not known", "'fedprox:mu=1' is not known", "codecs is empty"),
        *("backbones.tiny = 'abc'", "minimum_cohort = 0", "largest_payload = 'none'"),
        "longest_round = inf",
    ):
        assert part in said, part
    assert "methods" not in said.partition("allowed: ")[0]


def test_a_run_within_the_policy_is_allowed():
    assert refused() == []
    assert refused(SitePolicy(), secure={}, codec="int8") == []
    assert refused(rule="fedprox:mu=0.5", codec="ef+int4", codec_down="delta+int8") == []


@pytest.mark.parametrize(
    ("policy", "values", "parts"),
    [
        ({"rules": ["fedavg"]}, {"rule": "fedprox:mu=1"}, ("rules:", "'fedprox'")),
        ({"methods": ["lora"]}, {"method": "ia3"}, ("methods:", "'ia3'", "lora")),
        ({"codecs": ["fp32", "ef"]}, {"codec": "ef+int4"}, ("codecs:", "codec 'int4'")),
        (
            {"codecs": ["fp32"]},
            {"codec_down": "int8"},
            ("codecs:", "codec_down 'int8'"),
        ),
        ({"codecs": ["int4", "fp32"]}, {"codec": "ef+int4"}, ("codecs:", "codec 'ef'")),
        ({}, {"rule": "no-such"}, ("rules:", "'no-such'")),
        ({"minimum_cohort": 3}, {"participation": 0.25}, ("minimum_cohort:", "2 sites", "3 are")),
        (
            {"minimum_cohort": 3},
            {"participation": 0.25, "sampling": "poisson"},
            ("minimum_cohort:", "2 sites"),
        ),
        (
            {"minimum_cohort": 7},
            {"secure": {"threshold": 0.6}},
            ("minimum_cohort:", "secure.threshold = 0.6", "5 sites of 8"),
        ),
        ({"secure_aggregation": "required"}, {}, ("secure_aggregation is required",)),
        ({"epsilon": 1.0}, {}, ("epsilon:", "no privacy", "unit = example")),
        (
            {"epsilon": 1.0},
            {"privacy": {"unit": "site", "clip": 1.0, "noise": 1.0}},
            ("epsilon:", "which the server adds"),
        ),
        ({"epsilon": 1.0, "delta": 0.01}, {"privacy": PRIVATE}, ("delta", "100 examples")),
        ({"largest_turn": 99}, {"passes": 1, "rounds": 1}, ("largest_turn:", "100 examples")),
        (
            {"largest_turn": 10**6},
            {"privacy": {**PRIVATE, "examples": 10**7, "delta": 1e-9}},
            ("largest_turn:", "10,000,000 examples"),
        ),
        ({}, {"backbone": "fedbench-llama:random"}, ("backbones:", "'fedbench-llama:random'")),
        ({"backbones": {"fedbench-llama": HASH}}, {}, ("backbones:", HASH, "SHA-256")),
    ],
)
def test_what_is_not_allowed_is_named_with_the_field_and_what_was_asked_for(policy, values, parts):
    allowed = SitePolicy(**{"secure_aggregation": "allowed", **policy})
    only(refused(allowed, **values), *parts)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"setting": "centralized"}, "setting"),
        ({"setting": "local"}, "setting"),
        ({"labels": "shuffled"}, "labels"),
        ({"attack": "sign-flip"}, "attack"),
        ({"hostile": 0.1}, "hostile"),
        ({"faults": "silent:rate=0.1"}, "faults"),
        ({"own_passes": 1}, "own_passes"),
        ({"partition": {"noise": 0.2}}, "partition.noise"),
        ({"partition": {"dialects": 2}}, "partition.dialects"),
    ],
)
def test_what_belongs_to_a_simulation_is_refused_at_a_real_site(values, name):
    only(refused(**values), f"{name} = ", "for simulations")


def test_what_is_wrong_on_purpose_is_refused():
    assert any("wrong on purpose" in one for one in refused(rule="defect-first-site"))
    asked = "defect-best-round:lookalike_fpb"
    found = refusals(OPEN, proposed(task=asked), sites=8, examples=9)
    assert any("wrong on purpose" in one for one in found)


def test_all_reasons_are_told_at_once():
    policy = SitePolicy(methods=("ia3",), rules=("fedavg",), minimum_cohort=9, epsilon=1.0)
    found = refused(policy, rule="krum", attack="sign-flip")
    assert len(found) == 6
    for field in ("attack", "methods", "rules", "minimum_cohort", "secure_aggregation", "epsilon"):
        assert sum(one.startswith(field) for one in found) == 1, field


def test_no_backbone_is_looked_for_that_the_policy_does_not_name():
    def fetched(name):
        raise AssertionError(name)

    only(refused(backbone="somebody/else", here=fetched), "backbones:", "somebody/else")


def test_a_backbone_that_cannot_be_had_is_a_reason():
    def missing(name):
        raise FedbenchError("There is none.")

    only(refused(here=missing), "backbones: There is none.")


def test_a_run_that_would_spend_more_than_is_left_of_the_life_of_the_data_is_refused():
    policy = SitePolicy(secure_aggregation="allowed", epsilon=2.0)
    only(refused(policy, privacy=PRIVATE, foreseen=2.001), "epsilon:", "2.001", "2 is allowed")
    assert refused(policy, privacy=PRIVATE, foreseen=2.0) == []


def test_a_federation_of_no_site_is_one_of_this_one():
    only(refused(sites=0), "minimum_cohort: a cohort of the run has 1 sites")


def test_every_field_of_a_policy_is_looked_at():
    """A field that nothing reads would promise what nobody keeps."""
    source = Path(refusals.__code__.co_filename).read_text()
    for name in set(SitePolicy.model_fields) - {"longest_round"}:
        assert f"policy.{name}" in source, name


TRAIN = {"kind": "train", "local_passes": 2.0}
TERMS = {"run": "r", "round": 0, "attempt": 0, "sites": ["a", "b", "c"], "threshold": 2}


@pytest.mark.parametrize(
    ("policy", "header", "clause"),
    [
        ({"largest_payload": 999}, TRAIN, "largest_payload is 999 bytes, and a payload has 1,000"),
        (
            {"largest_turn": 199},
            TRAIN,
            "largest_turn is 199 examples.* asks for 2.0 passes over 100",
        ),
        ({}, TRAIN | {"local_passes": float("nan")}, "largest_turn"),
        ({}, TRAIN | {"local_passes": 10**400}, "largest_turn"),
        ({}, {"kind": "personalise"}, "a message asks for 'personalise', which is no part"),
        ({}, {"kind": ["train"]}, ".*which is no part"),
        ({}, {}, "a message asks for None, which is no part"),
        ({"validation": "refused"}, {"kind": "validate"}, "validation is refused"),
        ({"minimum_cohort": 3}, {"kind": "advertise", **TERMS}, "minimum_cohort is 3.*over 2"),
        (
            {"minimum_cohort": 3},
            {"kind": "unmask", "arrived": ["a", "b"], "missing": ["c"]},
            "minimum_cohort is 3.*over 2",
        ),
    ],
)
def test_a_message_that_asks_for_more_than_the_policy_is_refused(policy, header, clause):
    with pytest.raises(BadPayload, match=f"policy of this site does not allow it: {clause}"):
        check_message(SitePolicy(**policy), proposed(), header, 1000, 100)


@pytest.mark.parametrize(
    "header",
    [
        TRAIN,
        {"kind": "validate"},
        {"kind": "train"},
        {"kind": "advertise", **TERMS},
        {"kind": "advertise"},
        {"kind": "share"},
        {"kind": "unmask", "arrived": ["a", "b"], "missing": []},
    ],
)
def test_a_message_within_the_policy_is_left_to_the_site(header):
    check_message(SitePolicy(), proposed(), header, 1000, 100)


def test_a_turn_under_privacy_counts_by_the_number_that_its_steps_follow_from():
    policy = SitePolicy(largest_turn=300)
    check_message(policy, proposed(), TRAIN, 1, 100)
    with pytest.raises(BadPayload, match=r"2\.0 passes over 200"):
        check_message(policy, proposed(privacy=PRIVATE | {"examples": 200}), TRAIN, 1, 100)


def test_a_reply_that_is_too_large_is_refused():
    check_size(SitePolicy(largest_payload=10), 10)
    with pytest.raises(BadPayload, match="largest_payload"):
        check_size(SitePolicy(largest_payload=10), 11)


def test_a_turn_ends_once_its_time_is_up():
    times = iter([100.0, 105.0, 110.0, 110.5])
    done = []
    limited = within(lambda model, batch: done.append(batch), 10, lambda: next(times))
    limited(nn.Linear(1, 1), "first")
    limited(nn.Linear(1, 1), "second")
    with pytest.raises(BadPayload, match="longest_round is 10 seconds"):
        limited(nn.Linear(1, 1), "third")
    assert done == ["first", "second", "third"]


def test_a_turn_returns_what_its_gradient_does():
    limited = within(lambda model, batch: (model, batch), 60)
    model = nn.Linear(1, 1)
    assert limited(model, "batch") == (model, "batch")


def test_a_configuration_that_is_resolved_is_held_against_the_same_names():
    config = checked({"task": "lookalike_fpb", "rule": "fedprox:mu=0.01", "codec": "ef+int8"})
    assert isinstance(config, RunConfig)
    assert refusals(OPEN, config, sites=8, examples=100) == []
