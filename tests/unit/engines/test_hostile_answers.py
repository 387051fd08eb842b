"""A node of ill will, or whoever is between: an old answer or an altered one counts for nothing."""

from __future__ import annotations

from functools import partial

import pytest

pytest.importorskip("flwr", reason="Flower is not installed: make env EXTRAS=dev,flower")

from fedbench.deployment.certificates import new_key
from fedbench.deployment.signing import check, signature
from fedbench.engines.answering import answer
from fedbench.engines.in_process import InProcess
from fedbench.engines.over_flower import OverFlower, answering_app
from fedbench.federation import federate
from fedbench.wire import opened
from tests import bigram
from tests.grids import in_memory
from tests.unit.test_federation import HELD, same

HOSTILE = "site-01"


def kind_of(payload):
    return opened(payload)[0]["kind"]


def replaying(honest):
    """Answers every message to train with the answer to the first of them."""
    first = []

    def reply(payload):
        if kind_of(payload) != "train":
            return honest(payload)
        first.append(honest(payload))
        return first[0]

    return reply


def altering(vouch):
    """Signs an update, of which one bit is then another."""

    def altered(payload):
        said = vouch(payload)
        return said if kind_of(payload) != "update" else vouch(payload[:-1])

    return altered


def federated(config, folder, answers=lambda honest: honest, vouches=lambda vouch: vouch):
    """A federation over Flower's grid, one of whose sites does something else."""
    contexts = bigram.contexts(HELD, config, folder / "sites")
    keys = {site: new_key() for site in HELD}
    apps = {}
    for site, context in contexts.items():
        honest, vouch = partial(answer, context), partial(signature, keys[site])
        if site == HOSTILE:
            honest, vouch = answers(honest), vouches(vouch)
        apps[site] = answering_app(honest, vouch)

    def proven(site, payload, said):
        check(keys[site].public_key(), payload, said)

    with in_memory(apps) as nodes:
        engine = OverFlower(nodes.grid, nodes.directory, check=proven, pause=0.001)
        return federate(config, engine, list(HELD), bigram.initial(), folder / "work")


@pytest.fixture
def config():
    return bigram.config(sites=3, rounds=3)


def test_an_old_answer_under_a_good_signature_is_refused_and_the_round_goes_on(config, tmp_path):
    found = federated(config, tmp_path, answers=replaying)
    assert HOSTILE not in found.log[0].get("refused", {})
    for record in found.log[1:]:
        assert record["refused"] == {
            HOSTILE: "Its reply answers another message: it is a replay, or of another run."
        }


def test_an_altered_answer_is_refused_and_the_others_make_the_result(config, tmp_path):
    found = federated(config, tmp_path, vouches=altering)
    for record in found.log:
        assert record["refused"] == {
            HOSTILE: "Its answer is not signed by its key: it was altered, or is by somebody else."
        }
    honest = federated(config, tmp_path / "honest")
    assert not same(found.adapter, honest.adapter)


def test_with_nobody_hostile_signatures_change_nothing(config, tmp_path):
    over = federated(config, tmp_path / "over")
    engine = InProcess(bigram.contexts(HELD, config, tmp_path / "here"))
    here = federate(config, engine, list(HELD), bigram.initial(), tmp_path / "work")
    assert same(over.adapter, here.adapter)
