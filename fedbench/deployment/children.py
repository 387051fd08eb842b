"""Flower's SuperLink and SuperNode as child processes, which end when their parent does.

``python -m fedbench.deployment.children link|node|site ...`` is what such a child runs: Flower's
own programs, but for two things. Whoever reaches a SuperLink over the network may call, by default,
not only what sites need but also what controls it: here only its own machine may. And a child whose
parent was killed does not go on by itself: a site would look as if it were there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: Nothing is sent to Flower's makers, nothing of the user's own settings of Flower is read.
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
}
_PAUSE = 0.2  #: seconds between two looks for the parent
_PATIENCE = 5.0  #: seconds that a child has to end when it is asked to
#: what others than this machine may call
_OF_SITES = ("/v1/fleet/",)


@contextmanager
def child(kind: str, options: Sequence[str], home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child process of this one inside the block; what it says goes to a file in ``home``."""
    environment = {**os.environ, **QUIET, "FLWR_HOME": str(home)}
    command = [sys.executable, "-m", "fedbench.deployment.children", kind, *options]
    with log_of(kind, home).open("ab") as log:
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
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

    It knows the keys of nodes before anybody can connect. Whoever connects anew with one of them
    takes the place of who did before.
    """
    import uvicorn
    from flwr.common.constant import (
        HEARTBEAT_DEFAULT_INTERVAL,
        NOOP_ACCOUNT_NAME,
        NOOP_FLWR_AID,
        TRANSPORT_TYPE_GRPC_RERE,
    )
    from flwr.server.superlink.linkstate.sql_linkstate import SqlLinkState
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
    SqlLinkState.activate_node = _anew(SqlLinkState.activate_node)
    app = create_app(config, SuperLinkLifespan)
    if tls:
        state = app.state.linkstate_factory.state()
        for known in json.loads(Path(keys).read_text(encoding="utf-8")):
            with suppress(ValueError):  # from before
                state.create_node(
                    NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, known.encode(), HEARTBEAT_DEFAULT_INTERVAL
                )
    uvicorn.run(
        OnlySites(app), host=host, port=int(port), ssl_keyfile=key, ssl_certfile=certificate,
        access_log=False,
    )  # fmt: skip


def _anew(activate: Callable[[Any, int, float], bool]) -> Callable[[Any, int, float], bool]:
    """Activates nodes that count as connected, too.

    Flower notices only after a minute that a site was killed, and until then refuses, with the
    error of an unknown key, the process that was started in its place and proves the same key.
    """

    def activate_anew(state: Any, node: int, interval: float) -> bool:
        state.deactivate_node(node)
        return activate(state, node, interval)

    return activate_anew


def _node(options: Sequence[str]) -> None:
    """A SuperNode, with the options of ``flower-supernode``."""
    from flwr.supernode.cli.flower_supernode import flower_supernode

    sys.argv = ["flower-supernode", *options]
    flower_supernode()


def _rehearsing(options: Sequence[str]) -> None:
    """A site of a rehearsal."""
    from fedbench.deployment.rehearsal import be_site

    be_site(*options)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PAUSE)
    os._exit(1)


_KINDS = {"link": _link, "node": _node, "site": _rehearsing}


def main(arguments: Sequence[str]) -> None:
    """Be a child of the process that started this one, until either ends."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    kind, *options = arguments
    try:
        _KINDS[kind](options)
    finally:
        # A server of Flower's in a thread of its own would keep a child alive that has ended.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
