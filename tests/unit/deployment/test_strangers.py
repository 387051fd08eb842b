"""Whoever runs a server is told of keys that it does not know, once each."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fedbench.deployment.issuing import issue_site
from fedbench.deployment.keys import fingerprint, public_key
from fedbench.deployment.strangers import Strangers


def tried(key):
    """A line of Flower's about a key that it does not know."""
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return (
        "\x1b[91mERROR \x1b[0m: [/v1/fleet/activate-node][ApiError:2004] Attempted to register "
        f"SuperNode with public key: {pem!r}, exception: No SuperNode found with the given key.\n"
    )


@pytest.fixture
def said():
    return []


@pytest.fixture
def strangers(tmp_path, said):
    (tmp_path / "link.log").write_text("INFO: started\n")
    return Strangers(tmp_path / "link.log", said.append)


def add(strangers, text):
    with strangers.log.open("a") as log:
        log.write(text)


def test_a_key_is_told_once_and_with_the_fingerprint_of_its_file(strangers, said, tmp_path):
    _, public = issue_site(tmp_path / "keys", "hospital-a")
    for _ in range(3):
        add(strangers, tried(public_key(public)))
        strangers.look()
    (sentence,) = said
    assert fingerprint(public) in sentence


def test_a_line_that_is_not_whole_yet_is_read_when_it_is(strangers, said):
    line = tried(ec.generate_private_key(ec.SECP384R1()).public_key())
    add(strangers, line[:150])
    strangers.look()
    assert not said
    add(strangers, line[150:])
    strangers.look()
    assert len(said) == 1


def test_what_is_no_key_is_not_told_and_many_keys_fill_no_screen(strangers, said):
    add(strangers, "[ApiError:2004] Attempted to register SuperNode with public key: b'no', exc\n")
    for _ in range(30):
        add(strangers, tried(ec.generate_private_key(ec.SECP256R1()).public_key()))
    strangers.look()
    assert len(said) == 20
