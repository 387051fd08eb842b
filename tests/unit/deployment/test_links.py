"""An address for a SuperLink, and messages that Flower gave up."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="Flower is not installed: make env EXTRAS=dev,flower")

from fedbench.deployment import link as linking
from fedbench.deployment.link import link
from fedbench.deployment.node import Entrance
from fedbench.deployment.node_log import for_good, lost
from fedbench.errors import FedbenchError

ENTRANCE = Entrance("fedbench.example.org:9092", Path("keys/ca.pem"), Path("keys/hospital-a.key"))


def test_clocks_that_differ_are_told():
    said = "Client error '401 Unauthorized' for url"
    assert "the clock of one of both machines is wrong" in for_good(said, ENTRANCE)


@pytest.mark.parametrize("what", ["receive", "send"])
def test_a_message_that_flower_gave_up_is_noticed(what):
    assert lost(f"Received successfully\nFailed to {what} message 0123: no such object\n")


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
