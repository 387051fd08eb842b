"""Flower as it comes: its own programs, a process for every message, its own loop for replies.

What a user gets who starts ``flower-superlink`` and ``flower-supernode`` with their defaults and
sends with ``grid.send_and_receive``; without TLS, which is less work than ours does.
"""

from __future__ import annotations

import hashlib
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
from flwr.cli.build import build_fab_from_files
from flwr.proto.control_pb2 import ListRunsRequest, StartRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

from fedbench.bench.watching import beside
from fedbench.deployment.runtime import free_port
from fedbench.errors import FedbenchError
from fedbench.files import read_json

_MOST = 300.0  #: seconds until it is given up
_PROJECT = """\
[project]
name = "echo"
version = "1.0.0"
description = "Sends empty messages"
license = "Apache-2.0"
dependencies = ["flwr"]
[tool.flwr.app]
publisher = "fedbench"
[tool.flwr.app.components]
serverapp = "echo:server"
clientapp = "echo:client"
"""
_APP = """\
import json
import os
import time

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

client, server = ClientApp(), ServerApp()


@client.query()
def query(message, context):
    return Message(RecordDict({"": ConfigRecord({"bytes": b""})}), reply_to=message)


@server.main()
def main(grid, context):
    while len(nodes := [*grid.get_node_ids()]) < NODES:
        time.sleep(0.2)
    seconds = []
    for _ in range(EXCHANGES):
        began = time.monotonic()
        content = RecordDict({"": ConfigRecord({"bytes": b""})})
        replies = [*grid.send_and_receive([Message(content, node, "query") for node in nodes])]
        assert len(replies) == NODES and not any(reply.has_error() for reply in replies), replies
        seconds.append(time.monotonic() - began)
    with open(FILE + ".new", "w") as file:
        json.dump(seconds, file)
    os.replace(FILE + ".new", FILE)
"""


def echoed(nodes: int, exchanges: int, folder: Path) -> list[float]:
    """Seconds of every exchange but the first, in which nodes are given the app.

    Raises:
        FedbenchError: it did not get through.
    """
    port, programs = free_port(), Path(sys.executable).parent
    with ExitStack() as stack:
        command = [f"{programs}/flower-superlink", "--insecure", "--port", str(port)]
        stack.enter_context(beside(command, folder / "superlink"))
        for number in range(nodes):
            command = [
                f"{programs}/flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}",
                "--port", str(free_port()),
            ]  # fmt: skip
            stack.enter_context(beside(command, folder / f"node-{number}"))
        told = f"NODES, EXCHANGES, FILE = {nodes}, {exchanges + 1}, {str(folder / 'seconds')!r}\n"
        _start(port, told + _APP)
        ends = time.monotonic() + _MOST
        while not (folder / "seconds").exists():
            if time.monotonic() > ends:
                raise FedbenchError(f"Flower as it comes was not done within {_MOST:g} seconds.")
            time.sleep(0.5)
    found: list[float] = read_json(folder / "seconds")
    return found[1:]


def _start(port: int, app: str) -> None:
    control = ControlHttpClient.from_server_address(
        f"127.0.0.1:{port}", True, None, [RuntimeVersionHttpInterceptor(component_name="fedbench")]
    )
    ends = time.monotonic() + _MOST
    while time.monotonic() < ends:
        with suppress(httpx.TransportError):
            control.ListRuns(ListRunsRequest())
            break
        time.sleep(0.2)
    files = {"pyproject.toml": _PROJECT.encode(), "echo.py": app.encode()}
    content, _ = build_fab_from_files(files)
    fab = Fab(hash_str=hashlib.sha256(content).hexdigest(), content=content)
    control.StartRun(StartRunRequest(fab=fab))
    control.close()
