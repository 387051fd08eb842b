"""Flower's SuperLink and SuperNode as child processes, which end when their parent does.

``python -m fedbench.deployment.children PARENT link|node|site ...`` is what such a child runs:
Flower's own programs, but for three things. Whoever reaches a SuperLink over the network may call,
by default, not only what sites need but also what controls it: here only its own machine may. A
site that was killed may connect again at once. And a child whose parent was killed does not go on
by itself: a site would look as if it were there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

#: Nothing is sent to Flower's makers, nothing of the user's own settings of Flower is read.
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
}
_LOOK = 0.2  #: seconds between two looks whether the parent is there
_PATIENCE = 5.0  #: seconds that a child has to end when it is asked to
#: what others than this machine may call
_OF_SITES = ("/v1/fleet/",)


@contextmanager
def child(kind: str, options: Sequence[str], home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child process of this one inside the block; what it says goes to a file in ``home``."""
    parent = str(os.getpid())
    command = [sys.executable, "-m", "fedbench.deployment.children", parent, kind, *options]
    with beside(command, home, log_of(kind, home)) as started:
        yield started


@contextmanager
def beside(
    command: Sequence[str], home: Path, log: Path, more: Mapping[str, str] = MappingProxyType({})
) -> Iterator[subprocess.Popen[bytes]]:
    """A process inside the block, with Flower's files in ``home`` and ``more`` in its environment.

    What it says goes to ``log``. At the end it is asked to end, and killed if it does not.
    """
    environment = {**os.environ, **QUIET, "FLWR_HOME": str(home), **more}
    with log.open("ab") as said:
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def log_of(kind: str, home: Path) -> Path:
    """Where a child writes what it says."""
    return home / f"{kind}.log"


def last_said(kind: str, home: Path) -> str:
    """The last line that a child wrote."""
    said = log_of(kind, home).read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(said) if line.strip()), "nothing")


class OnlySites:
    """Lets others than this very machine call only what sites need."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] == "http" and not _may(scope):
            head = {"type": "http.response.start", "status": 403, "headers": []}
            await send(head)
            await send({"type": "http.response.body", "body": b"Not from another machine."})
            return
        await self._app(scope, receive, send)


def _may(scope: Mapping[str, Any]) -> bool:
    if str(scope["path"]).startswith(_OF_SITES):
        return True
    client, server = scope.get("client"), scope.get("server")
    if client is None:
        return False
    here = server[0] if server else None
    return client[0] in (here, "::1") or str(client[0]).startswith("127.")


def _link(options: Sequence[str]) -> None:
    """A SuperLink: ``host port database secret keys``, and for TLS ``certificate key authority``.

    It knows the keys of nodes before anybody can connect.
    """
    import uvicorn
    from flwr.common.constant import (
        HEARTBEAT_DEFAULT_INTERVAL,
        NOOP_ACCOUNT_NAME,
        NOOP_FLWR_AID,
        TRANSPORT_TYPE_GRPC_RERE,
    )
    from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
    from flwr.superlink.config_loader import SuperLinkLifespanConfig, load_control_authn_plugin
    from flwr.superlink.main import create_app

    host, port, database, secret, keys, *tls = options
    certificate, key, authority = tls or (None, None, None)
    files = (authority, certificate, key)
    config = SuperLinkLifespanConfig(
        control_address="",
        health_server_address=None,
        host=host,
        port=int(port),
        insecure=not tls,
        certificates=tuple(Path(file).read_bytes() for file in files if file) if tls else None,
        superexec_auth_secret=Path(secret).read_bytes(),
        authn_plugin=load_control_authn_plugin(),
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=bool(tls),
        fleet_api_type=TRANSPORT_TYPE_GRPC_RERE,
        fleet_api_address=None,
        simulation=False,
        ssl_ca_certfile=authority,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        database=database,
        isolation="process",
        runtime_dependency_install=False,
    )
    app = create_app(config, SuperLinkLifespan)
    state = app.state.linkstate_factory.state()
    let_back(state)
    if tls:
        for known in json.loads(Path(keys).read_text(encoding="utf-8")):
            with suppress(ValueError):  # from before
                state.create_node(
                    NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, known.encode(), HEARTBEAT_DEFAULT_INTERVAL
                )
    uvicorn.run(
        OnlySites(app), host=host, port=int(port), ssl_keyfile=key, ssl_certfile=certificate,
        access_log=False,
    )  # fmt: skip


def let_back(state: Any) -> None:
    """Let a node in that connects anew, although its last connection seems to be there.

    It has proved by its key who it is. A site that was killed counts as connected for another
    minute, in which Flower refuses it as if its key were unknown.
    """
    activate = state.activate_node

    def anew(node: int, heartbeat_interval: float) -> bool:
        state.deactivate_node(node)
        return bool(activate(node, heartbeat_interval))

    state.activate_node = anew


def _node(options: Sequence[str]) -> None:
    """A SuperNode, with the options of ``flower-supernode``."""
    from flwr.supernode.cli.flower_supernode import flower_supernode

    sys.argv = ["flower-supernode", *options]
    flower_supernode()


def _rehearsing(options: Sequence[str]) -> None:
    """A site of a rehearsal."""
    from fedbench.deployment.rehearsal import be_site

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and its own child ends before it does
    be_site(*options)


_KINDS = {"link": _link, "node": _node, "site": _rehearsing}


def main(arguments: Sequence[str]) -> None:
    """Be a child of the process that started this one, until either ends."""
    parent, kind, *options = arguments
    threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    try:
        _KINDS[kind](options)
    finally:
        # A server of Flower's in a thread of its own would keep a child alive that has ended.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def _end_with(parent: int) -> None:
    """End at once when the parent does, also if that was before this process knew of it."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
