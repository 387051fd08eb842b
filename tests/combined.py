"""Everything that is combined with a rule, and federations of it in process and over Flower."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from flwr.app import Message

from fedbench.config import RunConfig
from fedbench.engines import Engine, Failure
from fedbench.engines.answering import answer
from fedbench.engines.in_process import InProcess
from fedbench.engines.over_flower import OverFlower, answering_app
from fedbench.errors import FedbenchError
from fedbench.federation import Federated, federate
from fedbench.models.attached import attached
from fedbench.models.tensors import Tensors, trained_tensors
from fedbench.prepare import SiteContexts, prepare, site_contexts
from fedbench.resolving import resolve
from tests import bigram
from tests.grids import in_memory
from tests.unit.test_federation import HELD

_EXAMPLES = {"unit": "example", "clip": 1.0, "noise": 1.0, "examples": 4}
_SITES = {"unit": "site", "clip": 1.0, "noise": 0.5}
#: what may be chosen beside a rule, each with any of the others
CHOICES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "codec": {
        "plain": {},
        "int8": {"codec": "int8", "codec_down": "delta+int8"},
        "top-k": {"codec": "ef+top-k:share=0.5"},
    },
    "privacy": {
        "open": {},
        "private examples": {"privacy": _EXAMPLES},
        "private sites": {"privacy": _SITES},
    },
    "masks": {"seen": {}, "masked": {"secure": {"bound": 8.0}}},
    "cohort": {"all": {}, "some": {"participation": 0.67}},
}
#: rules, with what they ask of a configuration
RULES: Mapping[str, Mapping[str, Any]] = {
    "fedavg": {},
    "fedprox:mu=0.1": {},
    "scaffold": {"optimizer": "sgd"},
    "fedadam": {},
}


def combinations(base: RunConfig) -> Iterator[tuple[str, RunConfig]]:
    """All choices beside a configuration's rule that ``resolve`` does not refuse, and their names.

    What it refuses has no meaning: there is nothing to compare.
    """
    for chosen in itertools.product(*(choices.items() for choices in CHOICES.values())):
        values = dict(base)
        for _, one in chosen:
            values |= one
        with suppress(FedbenchError):
            config = RunConfig.model_validate(values)
            resolve(config)
            yield ", ".join([base.rule, *(name for name, _ in chosen)]), config


#: of every exchange, by site: what it was sent, and what it answered
Exchanges = list[dict[str, tuple[bytes, bytes | Failure]]]


@dataclass
class Overheard:
    """An engine, and all that went through it."""

    engine: Engine
    heard: Exchanges = field(default_factory=list)

    def exchange(
        self, messages: Mapping[str, bytes], deadline: float | None = None
    ) -> Iterator[tuple[str, bytes | Failure]]:
        """The same as the engine does."""
        sent, heard = {**messages}, dict[str, tuple[bytes, bytes | Failure]]()
        self.heard.append(heard)
        for site, found in self.engine.exchange(sent, deadline):
            heard[site] = sent[site], found
            yield site, found


@dataclass(frozen=True)
class World:
    """Sites, which of their answers depend on nothing but what they keep in a folder."""

    config: RunConfig
    sites: list[str]
    initial: Tensors
    contexts: Any  #: from a folder to contexts by site


@contextmanager
def toy_of_two_tensors(config: RunConfig) -> Iterator[World]:
    """Three sites that train tables of seven tokens."""
    contexts = partial(bigram.contexts, HELD, config)
    yield World(config, list(HELD), bigram.initial(), contexts)


@contextmanager
def toy_with_factors(config: RunConfig) -> Iterator[World]:
    """The sites of a run, that train factors of a transformer of two layers."""
    prepared = prepare(config)
    with attached(config) as model:

        def contexts(folder: Path) -> SiteContexts:
            return site_contexts(prepared, model, folder)

        yield World(config, [*prepared.partition.trained], trained_tensors(model), contexts)


def in_process(world: World, folder: Path) -> tuple[Federated, Exchanges]:
    """A federation in process, and what went through its engine."""
    return _federated(world, InProcess(world.contexts(folder / "sites")), folder)


def over_flower(world: World, folder: Path) -> tuple[Federated, Exchanges]:
    """The same over Flower; what arrived at its nodes are the payloads and nothing else."""
    contexts = world.contexts(folder / "sites")
    apps = {site: answering_app(partial(answer, contexts[site])) for site in world.sites}
    with in_memory(apps) as nodes:
        found, heard = _federated(
            world, OverFlower(nodes.grid, nodes.directory, pause=0.001), folder
        )
    for site in world.sites:
        arrived = [carried(message) for to, message in nodes.seen if to == site]
        assert arrived == [one[site][0] for one in heard if site in one]
    return found, heard


def _federated(world: World, engine: Engine, folder: Path) -> tuple[Federated, Exchanges]:
    overheard = Overheard(engine)
    server = folder / "server"
    return federate(world.config, overheard, world.sites, world.initial, server), overheard.heard


def carried(message: Message) -> bytes:
    """The bytes in a message, which holds no others."""
    records = message.content.config_records
    assert [*message.content] == [*records]
    values = [
        (name, key, value) for name in sorted(records) for key, value in records[name].items()
    ]
    said = [value for _, key, value in values if key != "bytes"]
    assert said == [b""]
    return b"".join(value for _, key, value in values if key == "bytes")


def agree(world: World, folder: Path) -> None:
    """Make sure that a federation ends with the same bits in process and over Flower.

    Adapter, log with its counts of bytes, and every payload in either direction; but under masks
    what hides a number is drawn anew, and only lengths are the same.
    """
    (expected, here), (found, there) = (
        in_process(world, folder / "a"),
        over_flower(world, folder / "b"),
    )
    for one, other in (
        (found.adapter, expected.adapter),
        (found.delta or {}, expected.delta or {}),
    ):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert found.log == expected.log
    assert len(found.log) == world.config.rounds
    assert [{s: [*map(len, told)] for s, told in one.items()} for one in there] == [
        {s: [*map(len, told)] for s, told in one.items()} for one in here
    ]
    if world.config.secure is None:
        assert there == here
