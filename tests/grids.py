"""A grid of Flower's in memory: the apps that run between machines, without machines.

It is Flower's own in-memory grid and state. Every site is a node with a thread that takes its
messages and calls its app; each message goes through Flower's serialisation in both directions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import (
    HEARTBEAT_INTERVAL_INF,
    NOOP_ACCOUNT_NAME,
    NOOP_FLWR_AID,
    SUPERLINK_NODE_ID,
)
from flwr.server.superlink.linkstate import LinkState, LinkStateFactory
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME, NOOP_FEDERATION_ID, TaskType
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.grid import InMemoryGrid

from fedbench.engines.over_flower import Present


@dataclass
class Nodes:
    """The sites of a grid; ``away`` are those that just now take no messages."""

    grid: InMemoryGrid
    state: LinkState
    ids: Mapping[str, int]
    away: set[str] = field(default_factory=set)
    seen: list[tuple[str, Message]] = field(default_factory=list)  #: what arrived at sites
    since: dict[str, str] = field(default_factory=dict)

    def directory(self) -> dict[str, Present]:
        """Sites that are connected."""
        return {
            site: Present(node, self.since.get(site, ""))
            for site, node in self.ids.items()
            if site not in self.away
        }


@contextmanager
def in_memory(apps: Mapping[str, ClientApp]) -> Iterator[Nodes]:
    """A grid whose nodes answer with these apps."""
    objects = ObjectStoreFactory()
    factory = LinkStateFactory(FLWR_IN_MEMORY_DB_NAME, NoOpFederationManager(), objects)
    state = factory.state()
    run_id = state.create_run(
        "fedbench/tests", "1.0.0", "0", {}, NOOP_FEDERATION_ID, None, NOOP_FLWR_AID,
        TaskType.SERVER_APP,
    )  # fmt: skip
    TaskIdentity.task_id, TaskIdentity.run_id = 1, run_id
    TaskIdentity.node_id = SUPERLINK_NODE_ID
    ids = {site: _node(state, site) for site in apps}
    grid = InMemoryGrid(factory, pull_interval=0.001)
    grid.set_run(state.get_run_info(run_ids=[run_id])[0])
    nodes, ended = Nodes(grid, state, ids), threading.Event()
    threads = [
        threading.Thread(target=_serve, args=(nodes, site, app, ended), daemon=True)
        for site, app in apps.items()
    ]
    for thread in threads:
        thread.start()
    try:
        yield nodes
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _node(state: LinkState, site: str) -> int:
    node = state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, site.encode(), 0)
    state.activate_node(node, HEARTBEAT_INTERVAL_INF)
    return node


_TURN = threading.Lock()  #: sites of a test share a model


def _serve(nodes: Nodes, site: str, app: ClientApp, ended: threading.Event) -> None:
    node = nodes.ids[site]
    context: Any = Context(nodes.grid.run.run_id, node, {}, RecordDict(), {})
    while not ended.is_set():
        taken = [] if site in nodes.away else nodes.state.get_message_ins(node_id=node, limit=1)
        for message in taken:
            nodes.seen.append((site, message))
            with _TURN:
                reply = app(travelled(message), context)
            if site not in nodes.away:
                answer = travelled(reply)
                answer.metadata.__dict__["_message_id"] = f"answer to {message.metadata.message_id}"
                nodes.state.store_message_res(answer)
        time.sleep(0.001)


def travelled(message: Message) -> Message:
    """The message as it arrives: written as bytes, and read from them."""
    contents = {name: one.deflate() for name, one in get_all_nested_objects(message).items()}
    arrived = cast(Message, inflate_object_from_contents(message.object_id, contents))
    arrived.metadata.__dict__["_message_id"] = message.metadata.message_id
    return arrived
