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
            site._TASKS, kind, lambda *given, kind=kind, task=task: done.append(kind) or task(*given)
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
