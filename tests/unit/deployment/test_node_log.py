"""What Flower says, as a sentence that says what to do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("flwr")

from fedbench.deployment.children import OnlySites
from fedbench.deployment.node import Entrance
from fedbench.deployment.node_log import for_good, passing

AT = Entrance("fed.example.org:9092", Path("keys/ca.pem"), Path("keys/north.key"))
VERIFY = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("[code: 2004] Failed to activate SuperNode.", "give keys/north.pub to whoever runs it"),
        (VERIFY + "unable to get local issuer certificate (_ssl.c:1006)", "by keys/ca.pem"),
        (VERIFY + "certificate has expired (_ssl.c:1006)", "not valid today"),
        (
            VERIFY + "IP address mismatch, certificate is not valid for '127.0.0.1'. (_ssl.c:1006)",
            "is not for that name",
        ),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "speaks no TLS"),
        ("Unable to parse the private key file.", "make a pair with python -m fedbench keys site"),
    ],
)
def test_what_lasts_is_told_with_its_remedy(said, told):
    sentence = for_good(f"INFO: Starting\n{said}\n", AT)
    assert told in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Connection attempt failed, retrying in 0.26 seconds",
        "Connection successful after 2.25 seconds and 3 tries.",
        "Giving up reconnection...",
        "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol",
        "The handshake operation timed out",
    ],
)
def test_what_passes_is_no_reason_to_give_up(said):
    assert for_good(said, AT) is None


def test_how_the_connection_is_now_is_what_was_said_last():
    failed = "Connection attempt failed, retrying in 0.26 seconds\n"
    mended = "Connection successful after 2.25 seconds and 3 tries.\n"
    away = "fed.example.org:9092 does not answer: this site tries again until it does."
    there = "Connected with fed.example.org:9092."
    assert passing("Starting\n", AT) == ""
    assert passing(failed, AT) == away
    assert passing(failed + mended, AT) == there
    assert passing(failed + mended + failed, AT) == away
    assert passing("SuperNode ID: 7\n", AT) == there


@pytest.mark.parametrize(
    ("path", "client", "served"),
    [
        ("/v1/fleet/pull", ("10.0.0.9", 5), True),
        ("/flwr.proto.Control/StartRun", ("10.0.0.9", 5), False),
        ("/flwr.proto.Runtime/AcquireTask", ("10.0.0.9", 5), False),
        ("/v1/control", ("10.0.0.9", 5), False),
        ("/v1/fleet", ("10.0.0.9", 5), False),
        ("/v2/v1/fleet/", ("10.0.0.9", 5), False),
        ("/flwr.proto.Control/StartRun", None, False),
        ("/flwr.proto.Control/StartRun", ("127.0.0.1", 5), True),
        ("/flwr.proto.Control/StartRun", ("::1", 5), True),
        ("/flwr.proto.Control/StartRun", ("10.0.0.1", 5), True),
    ],
)
def test_only_this_machine_controls_a_superlink(path, client, served):
    """10.0.0.1 is its own address, by which it was reached."""
    sent, reached = [], []

    async def app(scope, receive, send):
        reached.append(scope["path"])

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": path, "client": client, "server": ("10.0.0.1", 9092)}
    asyncio.run(OnlySites(app)(scope, None, send))
    assert reached == ([path] if served else [])
    assert [message.get("status") for message in sent] == ([] if served else [403, None])


def test_a_server_that_starts_or_ends_is_let_through():
    reached = []

    async def app(scope, receive, send):
        reached.append(scope["type"])

    asyncio.run(OnlySites(app)({"type": "lifespan"}, None, None))
    assert reached == ["lifespan"]
