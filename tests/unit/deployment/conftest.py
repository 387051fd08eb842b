"""A site of a toy task, and a server of ill will, which has the same toy."""

from __future__ import annotations

import pytest

from fedbench import site
from fedbench.models.backbones import digest
from tests import toys


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    from tests.institutions import World

    return World(toys.make_task(folder / "task"), toys.make_backbone(folder / "backbone"))


@pytest.fixture(scope="module")
def config(world):
    return world.config()


@pytest.fixture(scope="module")
def adapter(world, config):
    return world.adapter(config)


@pytest.fixture
def housed(world, tmp_path):
    """A site with a policy of its own, whose folder is the same every time."""

    from tests.institutions import site_house

    def of(**policy):
        backbones = {str(world.backbone): digest(str(world.backbone))}
        usual = {"backbones": backbones, "secure_aggregation": "allowed"}
        return site_house(tmp_path / "site", world.task, **{**usual, **policy})

    return of


@pytest.fixture
def did(monkeypatch):
    """What was done with examples, which is nothing until a message is let in."""
    done = []
    for kind, task in dict(site._TASKS).items():
        spy = lambda *given, kind=kind, task=task: done.append(kind) or task(*given)  # noqa: E731
        monkeypatch.setitem(site._TASKS, kind, spy)
    return done
