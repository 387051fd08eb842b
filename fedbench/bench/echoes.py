"""Empty messages there and back through Flower alone: what no exchange can be quicker than.

A SuperLink, and for every node a SuperNode with a process of its own, as a federation has them:
TLS, keys of nodes, the same options, the same looks for messages. The app sends an empty payload
back, and no site is behind it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from flwr.superlink.grid import HttpGrid

from fedbench.bench.watching import (
    Watched,
    WatchedGrid,
    answer_watched,
    beside,
    busy,
    merged,
    module,
    parts_of,
)
from fedbench.deployment import children
from fedbench.deployment import link as of_link
from fedbench.deployment import node as of_node
from fedbench.deployment.issuing import issue_server, issue_site
from fedbench.deployment.keys import as_registered, public_key, server_certificates
from fedbench.deployment.link import Certificates, Link, link
from fedbench.deployment.node import Entrance, node
from fedbench.deployment.runtime import free_port
from fedbench.engines.over_flower import OverFlower, Present, answering_app
from fedbench.errors import FedbenchError

_HERE = "127.0.0.1"
_START = 90.0  #: seconds that all nodes have to connect

Parts = dict[str, float]


@dataclass(frozen=True)
class Echoes:
    """Exchanges of empty messages."""

    nodes: int  #: asked at once
    exchanges: int
    pause: float  #: of the engine, in seconds
    sleep: float | None = None  #: of SuperNodes that find no message; None: as Flower has it
    own_grid: bool = True  #: ours; Flower's waits for parts of replies


def echoed(plan: Echoes, folder: Path) -> tuple[list[Parts], float]:
    """Seconds of every exchange but the first, in which nodes meet their run, by part.

    Beside them the share of a core that the server and its SuperLink took meanwhile.
    """
    names, keys, port = [f"node-{n}" for n in range(plan.nodes)], folder / "keys", free_port()
    issue_server(keys, [_HERE], days=2)
    for name in names:
        issue_site(keys, name)
    known = [as_registered(public_key(keys / f"{name}.pub")) for name in names]
    found = server_certificates(keys, _HERE)
    certificates = Certificates(found.certificate, found.key, found.authority)
    with ExitStack() as stack:
        if not plan.own_grid:
            stack.enter_context(patch.object(of_link, "PromptGrid", HttpGrid))
        held = stack.enter_context(link(_HERE, port, certificates, known, folder / "flower"))
        for name in names:
            options = [f"{_HERE}:{port}", keys, name, folder / name, plan.sleep or ""]
            stack.enter_context(beside(module("echoes", "node", *options), folder / name))
        _wait(held, plan.nodes)
        grid = WatchedGrid(held.grid)
        engine = Watched(OverFlower(grid, lambda: _there(held), pause=plan.pause))
        began, before = time.monotonic(), busy()
        for _ in range(plan.exchanges + 1):
            answers = [*engine.exchange(dict.fromkeys(_there(held), b""))]
            if any(answer for _, answer in answers):
                raise FedbenchError(f"A node did not send an empty message back: {answers}.")
        share = (busy() - before) / (time.monotonic() - began)
    moments = merged(grid.seen, [folder / name / "moments.jsonl" for name in names])
    return [parts_of(exchange, moments) for exchange in engine.exchanges[1:]], share


def _there(held: Link) -> dict[str, Present]:
    return {str(name): present for name, present in held.nodes().items()}


def _wait(held: Link, nodes: int) -> None:
    ends = time.monotonic() + _START
    while len(held.nodes()) < nodes:
        if time.monotonic() > ends:
            raise FedbenchError(f"Within {_START:g} seconds not all {nodes} nodes connected.")
        time.sleep(0.2)


def be_node(server: str, keys: str, name: str, folder: str, sleep: str) -> None:
    """Be one node, until its parent ends."""
    home = Path(folder)
    entrance = Entrance(server, Path(keys) / "ca.pem", Path(keys) / f"{name}.key")
    app = answering_app(lambda payload: b"")
    start = _impatient(sleep) if sleep else children.child
    with patch.object(of_node, "child", start), node(entrance, home) as (_, runtime):
        answer_watched(home / "moments.jsonl")(runtime, app, lambda: True)


def _impatient(sleep: str) -> Any:
    """What starts a SuperNode that looks for messages more often than Flower's does."""

    def start(kind: str, options: Sequence[str], home: Path) -> Any:
        return beside(module("echoes", "supernode", sleep, *options), home)

    return start


def be_supernode(sleep: str, *options: str) -> None:
    """Be a SuperNode that, where Flower's sleeps for 3 seconds, sleeps for ``sleep``."""
    from types import SimpleNamespace

    from flwr.supernode import start_client_internal

    shorter = SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, float(sleep))))
    start_client_internal.time = shorter
    children._node(options)


def main(arguments: Sequence[str]) -> None:
    """Be a node or a SuperNode of such exchanges."""
    from flwr.supercore.app_utils import start_parent_process_monitor

    start_parent_process_monitor(os.getppid())
    kind, *options = arguments
    if kind == "node":
        be_node(*options)
    else:
        be_supernode(*options)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    finally:
        sys.stderr.flush()
        os._exit(1)
