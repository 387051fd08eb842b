"""Who is there: known by signatures, in whatever order and however late they answer."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("flwr")

from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key

from fedbench.config import parse_config
from fedbench.deployment.joining import Joining
from fedbench.deployment.proposing import Proposal, agreed, read_proposal, refused
from fedbench.deployment.signing import check, name_of, signature
from fedbench.engines import Failure
from fedbench.engines.over_flower import Unproven, answering_app
from fedbench.resolving import resolve
from fedbench.wire import opened
from tests.grids import in_memory

PAIRS = {site: generate_private_key(SECP384R1()) for site in ("site-00", "site-01")}
STRANGER = generate_private_key(SECP384R1())
CONFIG = resolve(parse_config({"task": "lookalike_fpb"}))


def node(key, answer, signing=None):
    """An app of a node that has ``key``."""
    name = name_of(key.public_key())

    def to(payload):
        return answer(read_proposal(opened(payload)[0]), name)

    return answering_app(to, lambda payload: signature(signing or key, payload))


def joined(nodes, apps, seconds=10.0, until=None, said=None):
    """The directory once all nodes have been heard."""
    publics = {site: key.public_key() for site, key in PAIRS.items()}
    sites = {name_of(key): site for site, key in publics.items()}
    proposal = Proposal(CONFIG, "t", "b", sites, simulated=False)
    told = [] if said is None else said
    made = Joining(nodes.grid, lambda: {at.node: at for at in nodes.directory().values()},
                   proposal, publics, told.append, {"site-00": "North"})  # fmt: skip
    end = time.monotonic() + seconds
    until = until or (lambda made: len(made._sites) + len(made._out) >= len(apps))
    while not until(made) and time.monotonic() < end:
        made.directory()
        time.sleep(0.005)
    return made


def test_sites_that_agree_are_there_under_their_numbers_and_are_asked_once():
    apps = {site: node(key, agreed) for site, key in PAIRS.items()}
    with in_memory(apps) as nodes:
        said = []
        made = joined(nodes, apps, said=said)
        found = {site: at.node for site, at in made.directory().items()}
        assert found == nodes.ids
        assert len(nodes.seen) == 2
        assert sorted(said) == ["North takes part, as site-00.", "site-01 takes part, as site-01."]


def test_who_refuses_is_known_by_the_reason_and_is_asked_anew_once_it_connects_anew():
    answers = [lambda asked, key: refused(asked, key, ["Not today."]), agreed]
    apps = {"site-00": node(PAIRS["site-00"], lambda asked, key: answers.pop(0)(asked, key))}
    with in_memory(apps) as nodes:
        made = joined(nodes, apps)
        assert made.refusals == {"site-00": "Not today."}
        assert made.directory() == {}
        nodes.since["site-00"] = "later"
        joins = time.monotonic() + 10
        while not made.directory() and time.monotonic() < joins:
            time.sleep(0.005)
        assert [*made.directory()] == ["site-00"]
        assert made.refusals == {}


@pytest.mark.parametrize(
    ("app", "why"),
    [
        (node(STRANGER, agreed), "names a key that is not known here"),
        (node(PAIRS["site-00"], agreed, STRANGER), "not signed by its key"),
        (answering_app(lambda payload: payload), "something else"),
        (answering_app(lambda payload: Failure("It fell.")), "It fell."),
        (
            node(PAIRS["site-00"], lambda asked, key: agreed(
                Proposal(asked.config, "t", "b", asked.sites, simulated=False, nonce="0" * 32), key
            )),
            "something else",
        ),
    ],
    ids=["stranger", "forged", "echo", "failed", "another day"],
)  # fmt: skip
def test_who_does_not_prove_itself_is_not_let_in(app, why):
    with in_memory({"node": app}) as nodes:
        said = []
        made = joined(nodes, {"node": app}, said=said)
        assert made.directory() == {}
        assert why in said[0]
        assert said[0].startswith("A node that connected is not let in.")


def test_who_is_away_is_no_site_and_is_one_again_when_it_is_back():
    apps = {site: node(key, agreed) for site, key in PAIRS.items()}
    with in_memory(apps) as nodes:
        made = joined(nodes, apps)
        nodes.away.add("site-01")
        assert [*made.directory()] == ["site-00"]
        nodes.away.clear()
        assert {*made.directory()} == {"site-00", "site-01"}


def test_a_site_with_a_new_node_is_reached_there():
    """As when it was installed on another machine with the same key."""
    apps = {"old": node(PAIRS["site-00"], agreed), "new": node(PAIRS["site-00"], agreed)}
    with in_memory(apps) as nodes:
        nodes.away.add("new")
        made = joined(nodes, apps, until=lambda made: made._sites)
        nodes.away.clear()
        nodes.away.add("old")
        end = time.monotonic() + 10
        while nodes.ids["new"] not in made._sites and time.monotonic() < end:
            made.directory()
            time.sleep(0.005)
        assert {site: at.node for site, at in made.directory().items()} == {
            "site-00": nodes.ids["new"]
        }


def test_a_signature_is_of_one_key_and_of_these_bytes():
    key = PAIRS["site-00"]
    said = signature(key, b"payload")
    check(key.public_key(), b"payload", said)
    for public, payload, by in ((STRANGER.public_key(), b"payload", said),
                                (key.public_key(), b"payloae", said),
                                (key.public_key(), b"payload", b""),
                                (key.public_key(), b"payload", said[:-1])):  # fmt: skip
        with pytest.raises(Unproven):
            check(public, payload, by)
