"""Replies as they arrive at a server: what is there is taken, and nobody waits for the rest.

A SuperLink names a reply as soon as a site has begun to send it, once. Flower's own grid then waits
for its parts, and asks after 1, 2, 4, 8 and then every 10 seconds: a reply of an empty payload
comes a second late, one that takes a minute up to ten, and until a site that went away is given up
nothing else is heard. Here parts are asked for whenever replies are looked for, each until it came.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from flwr.app import Error, Message, Metadata
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.supercore.constant import SYSTEM_MESSAGE_TYPE
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectUnavailableError,
    inflate_object_from_contents,
)
from flwr.superlink.grid import HttpGrid

_FORGOTTEN = 600.0  #: seconds after which a reply that nobody looks for is dropped


@dataclass
class _Begun:
    """A reply that was named, and its parts so far."""

    name: str
    missing: list[str]
    parts: dict[str, bytes] = field(default_factory=dict)
    looked: float = 0.0


class PromptGrid(HttpGrid):  # type: ignore[misc]
    """A grid that never waits for a reply."""

    def __init__(self, *address: Any, token: str) -> None:
        super().__init__(*address, token=token)
        self._begun: dict[str, _Begun] = {}  #: by the name of the message that it answers

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Replies to these messages that are there as a whole; each is returned once."""
        asked = [*message_ids]
        now = time.monotonic()
        self._begun = {n: one for n, one in self._begun.items() if now - one.looked < _FORGOTTEN}
        if unknown := [name for name in asked if name not in self._begun]:
            self._begin(unknown)
        replies = []
        for name in asked:
            if name in self._begun and (reply := self._reply(name)) is not None:
                del self._begun[name]
                replies.append(reply)
        return replies

    def _begin(self, asked: list[str]) -> None:
        told = self._runtime_client.PullMessages(PullAppMessagesRequest(message_ids=asked))
        for reply, tree in zip(told.messages_list, told.message_object_trees, strict=True):
            parts = [part.object_id for part in iterate_object_tree(tree)]
            begun = _Begun(reply.metadata.message_id, parts, looked=time.monotonic())
            self._begun[reply.metadata.reply_to_message_id] = begun

    def _reply(self, name: str) -> Message | None:
        """A reply, once all its parts came; an error where they cannot come any more."""
        begun, run = self._begun[name], self.run.run_id
        begun.looked = time.monotonic()
        pull = make_pull_object_fn_protobuf(self._runtime_client.PullObject, self.node, run)
        try:
            while begun.missing:
                begun.parts[begun.missing[0]] = pull(begun.missing[0])
                begun.missing.pop(0)
        except ObjectUnavailableError:
            return None
        except ObjectPullError:
            return self._lost(name)
        self._runtime_client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(node=self.node, run_id=run, message_object_id=begun.name)
        )
        reply = cast(Message, inflate_object_from_contents(begun.name, begun.parts))
        reply.metadata.__dict__["_message_id"] = begun.name
        return reply

    def _lost(self, name: str) -> Message:
        here = self.node.node_id
        about = Metadata(
            run_id=self.run.run_id, message_id="", src_node_id=here, dst_node_id=here,
            reply_to_message_id=name, group_id="", created_at=time.time(), ttl=0,
            message_type=SYSTEM_MESSAGE_TYPE,
        )  # fmt: skip
        error = Error(ErrorCode.MESSAGE_UNAVAILABLE, "Its reply did not come as a whole.")
        return make_message(metadata=about, error=error)
