"""The server's end of Flower: a SuperLink beside this process, and the grid of nodes behind it."""

from __future__ import annotations

import errno
import hashlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

import httpx
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import run_from_proto
from flwr.proto.control_pb2 import (
    ListRunsRequest,
    StartRunRequest,
    StopRunRequest,
)
from flwr.proto.fab_pb2 import Fab
from flwr.proto.runtime_pb2 import PullTaskInputRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.task_identity import TaskIdentity

from fedbench.deployment.arriving import PromptGrid
from fedbench.deployment.children import child, last_said
from fedbench.deployment.runtime import Runtime, give_up, new_secret, task_client, tokens
from fedbench.engines.over_flower import Present
from fedbench.errors import FedbenchError
from fedbench.files import private_folder, write_json

KEYS = "keys.json"  #: public keys of nodes that may connect
_START = 300.0  #: seconds that a SuperLink has to begin
_TAKEN = 5.0  #: seconds that its port may be taken yet
_PAUSE = 0.1
#: What Flower calls an app, which it demands and sends to nodes. Ours holds no code: servers and
#: sites run what they have installed and nothing else.
_APP = """\
[project]
name = "federation"
version = "1.0.0"
description = "Runs what is installed at the server and at sites"
license = "Apache-2.0"
dependencies = ["flwr"]
[tool.flwr.app]
publisher = "fedbench"
[tool.flwr.app.components]
serverapp = "nothing:here"
clientapp = "nothing:here"
"""


class Certificates(NamedTuple):
    """Files with what a server proves itself by."""

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True)
class Link:
    """A SuperLink under way, and one run of it."""

    grid: PromptGrid
    control: ControlHttpClient
    run: int

    def nodes(self) -> dict[int, Present]:
        """Nodes that are connected just now, by Flower's name of them."""
        found = self.grid.get_nodes()
        return {one.node_id: Present(one.node_id, one.last_activated_at) for one in found}

    def traffic(self) -> tuple[int, int]:
        """Bytes that Flower says it sent to nodes and received from them, payloads among them."""
        run = self.control.ListRuns(ListRunsRequest(run_id=self.run)).run_dict[self.run]
        return run.bytes_sent, run.bytes_recv


@contextmanager
def link(
    host: str, port: int, certificates: Certificates | None, keys: Iterable[bytes], home: Path
) -> Iterator[Link]:
    """A SuperLink inside the block, on whose grid this process sends.

    Nodes and messages are kept in ``home``, so that nodes need not begin anew after a server did.

    Args:
        host: address that it listens on.
        port: the same.
        certificates: for TLS; None for plain text.
        keys: public keys of nodes that may connect; in plain text any may.
        home: folder for Flower's files.

    Raises:
        FedbenchError: the address cannot be had, or the SuperLink does not begin or ended inside
            the block; with the last that it said.
    """
    _check_free(host, port)
    private_folder(home)  # payloads lie in it for a while
    secret = new_secret(home / "secret")
    tls = [str(file) for file in certificates] if certificates else []
    write_json(home / KEYS, [key.decode() for key in keys])
    options = [host, str(port), str(home / "state.db"), str(secret), str(home / KEYS), *tls]
    authority = certificates.authority.read_bytes() if certificates else None
    address = f"{_own(host)}:{port}"
    with child("link", options, home) as started:
        control = ControlHttpClient.from_server_address(
            address, authority is None, authority,
            [RuntimeVersionHttpInterceptor(component_name="fedbench")],
        )  # fmt: skip
        try:
            _begun(control, started, home)
            run = _new_run(control)
            with _grid(Runtime(address, secret, authority, started), run) as grid:
                give_up(grid._retry_invoker, lambda _: started.poll() is not None)
                yield Link(grid, control, run)
        except httpx.TransportError:
            if started.poll() is None:
                raise
            raise FedbenchError(
                f"Flower's SuperLink ended; it said last: {last_said('link', home)}"
            ) from None
        finally:
            control.close()


def _check_free(host: str, port: int) -> None:
    """Make sure that nobody else listens there, whose runs would be taken for those of this server.

    The SuperLink of a server that was killed just now has a moment to end.

    Raises:
        FedbenchError: somebody does, or the machine has no such address.
    """
    ends = time.monotonic() + _TAKEN
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        try:
            socket.create_server((host, port), family=family).close()
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise FedbenchError(
                    f"This machine cannot listen on {host}:{port} ({error.strerror}): change "
                    "address in the run file."
                ) from None
            if time.monotonic() > ends:
                raise FedbenchError(
                    f"Another program listens on {host}:{port}: end it, or change address in the "
                    "run file."
                ) from None
        time.sleep(_PAUSE)


def _own(host: str) -> str:
    """By which address this machine reaches what listens on ``host``."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
    return everywhere.get(host, f"[{host}]" if ":" in host else host)


def _begun(control: ControlHttpClient, started: Popen[bytes], home: Path) -> None:
    """Wait until the SuperLink answers.

    Raises:
        FedbenchError: it ended, or is not what answers there.
    """
    ends = time.monotonic() + _START
    while time.monotonic() < ends and started.poll() is None:
        with suppress(httpx.TransportError):
            control.ListRuns(ListRunsRequest())
            if started.poll() is None:
                return
        time.sleep(_PAUSE)
    raise FedbenchError(
        f"Flower's SuperLink does not begin; it said last: {last_said('link', home)}"
    )


def _new_run(control: ControlHttpClient) -> int:
    """A run of Flower's; earlier ones, of a server that was stopped, are ended."""
    for earlier, run in control.ListRuns(ListRunsRequest()).run_dict.items():
        if run.status.status != "finished":
            with suppress(httpx.HTTPStatusError):  # it ended just now
                control.StopRun(StopRunRequest(run_id=earlier))
    content, _ = build_fab_from_files({"pyproject.toml": _APP.encode(), "nothing.py": b""})
    fab = Fab(hash_str=hashlib.sha256(content).hexdigest(), content=content)
    return int(control.StartRun(StartRunRequest(fab=fab)).run_id)


@contextmanager
def _grid(runtime: Runtime, run: int) -> Iterator[PromptGrid]:
    """The grid of a run, which is under way inside the block."""
    ends = time.monotonic() + _START
    before: Callable[[], bool] = lambda: time.monotonic() < ends  # noqa: E731
    for token in tokens(runtime, TaskType.SERVER_APP, _PAUSE, before):
        with task_client(runtime, token) as client:
            told = client.PullTaskInput(PullTaskInputRequest())
            if told.run.run_id != run:  # of another run, that ended before it began
                continue
            TaskIdentity.task_id, TaskIdentity.run_id = told.task_id, run
            TaskIdentity.node_id = told.context.node_id
            grid = PromptGrid(
                runtime.address, runtime.authority is None, runtime.authority, token=token
            )
            grid.set_run(run_from_proto(told.run))
            try:
                yield grid
            finally:
                grid.close()
            return
    raise FedbenchError("Flower's SuperLink does not begin the run that it was asked for.")
