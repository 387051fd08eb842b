"""A server of ill will: whatever it says, the site's policy holds, and the site goes on."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("flwr")

import torch

from fedbench.deployment import lifetime
from fedbench.deployment.guarding import RECORD
from fedbench.hashing import sha256_bytes
from fedbench.models.backbones import digest
from fedbench.wire import framed, seal
from tests import toys
from tests.institutions import (
    OTHERS,
    OWN,
    PRIVATE,
    World,
    open_site,
    site_house,
    to_train,
)
from tests.payloads import FIRST, VALIDATE, header_of, written


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    made = World(toys.make_task(folder / "task"), toys.make_backbone(folder / "backbone"))
    return made


@pytest.fixture(scope="module")
def config(world):
    return world.config()


@pytest.fixture(scope="module")
def adapter(world, config):
    return world.adapter(config)


@pytest.fixture
def housed(world, tmp_path):
    """A site with a policy of its own, whose folder is the same every time."""

    def of(**policy):
        backbones = {str(world.backbone): digest(str(world.backbone))}
        usual = {"backbones": backbones, "secure_aggregation": "allowed"}
        return site_house(tmp_path / "site", world.task, **{**usual, **policy})

    return of


@pytest.fixture
def did(monkeypatch):
    """What was done with examples, which is nothing until a message is let in."""
    done = []
    from fedbench import site

    for kind, task in dict(site._TASKS).items():
        monkeypatch.setitem(
            site._TASKS,
            kind,
            lambda *given, kind=kind, task=task: done.append(kind) or task(*given),
        )
    return done


def agreed(site, world, config, **values):
    header, why = site.told(world.proposal(config, **values).payload())
    assert header.get("kind") == "agree", why


def nothing_spent(site):
    return not (site.house.folder / lifetime.LEDGER).exists()


# Names


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


# Tensors


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
    (down, up), (next_down, next_up) = factors(adapter)[:2]
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
