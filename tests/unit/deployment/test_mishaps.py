"""What Flower's programs say becomes a sentence, or a reason to connect anew."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="Flower is not installed: make env EXTRAS=dev,flower")

from fedbench.deployment import link as linking
from fedbench.deployment.link import link
from fedbench.deployment.mishaps import for_good, lost, passing
from fedbench.deployment.node import Entrance
from fedbench.errors import FedbenchError

ENTRANCE = Entrance("fedbench.example.org:9092", Path("keys/ca.pem"), Path("keys/hospital-a.key"))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("[code: 2004] Failed to activate SuperNode.", "give keys/hospital-a.pub to whoever runs"),
        ("Client error '401 Unauthorized' for url", "the clock of one of both machines is wrong"),
        ("certificate verify failed: certificate has expired", "is not valid today"),
        ("Hostname mismatch, certificate is not valid for 'x'", "is not for that name"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed", "is not vouched for by keys/ca.pem"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "speaks no TLS"),
    ],
)
def test_what_cannot_mend_itself_is_told_with_its_remedy(said, told):
    assert told in for_good(said, ENTRANCE)


@pytest.mark.parametrize("said", ["", "Connection attempt failed, retrying", "Sent successfully"])
def test_what_may_mend_itself_ends_no_site(said):
    assert for_good(said, ENTRANCE) is None
    assert not lost(said)


@pytest.mark.parametrize("what", ["receive", "send"])
def test_a_message_that_flower_gave_up_is_noticed(what):
    assert lost(f"Received successfully\nFailed to {what} message 0123: no such object\n")


def test_a_line_that_is_there_again_is_told():
    broken = "Connection attempt failed, retrying in 1 seconds\n"
    assert "tries again" in passing(broken, ENTRANCE)
    assert "Connected" in passing(f"{broken}Connection successful after 1 seconds", ENTRANCE)


def test_an_address_that_another_program_has_is_refused_before_anything_begins(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(linking, "_TAKEN", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(FedbenchError, match=f"Another program listens on 127.0.0.1:{port}"),
            link("127.0.0.1", port, None, [], tmp_path / "flower"),
        ):
            pass
    assert not (tmp_path / "flower").exists()


def test_an_address_that_the_machine_does_not_have_is_refused_in_words(tmp_path):
    with (
        pytest.raises(FedbenchError, match="cannot listen on 192\\.0\\.2\\.1:9092"),
        link("192.0.2.1", 9092, None, [], tmp_path / "flower"),
    ):
        pass
