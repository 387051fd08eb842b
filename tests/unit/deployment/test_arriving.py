"""A reply is taken as its parts come; nobody waits for it, and nobody waits because of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

pytest.importorskip("flwr")

from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import PullObjectResponse
from flwr.proto.runtime_pb2 import PullAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedbench.deployment import arriving
from fedbench.deployment.arriving import PromptGrid
from fedbench.engines.over_flower import content_of, payload_of

PAYLOAD = bytes(range(256)) * (40 << 10)  # of three pieces


@dataclass
class Link:
    """What a SuperLink has of replies, by the name of the message that each answers."""

    named: dict[str, tuple] = field(default_factory=dict)
    there: dict[str, bytes] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    pulled: list[str] = field(default_factory=list)
    confirmed: list[str] = field(default_factory=list)

    def begin(self, asked: str, payload: bytes) -> dict[str, bytes]:
        """A site begins to send a reply; its parts, of which none is there."""
        message = Message(content_of(b"asked"), 1, "query")
        message.metadata.__dict__["_message_id"] = asked
        reply = Message(content_of(payload), reply_to=message)
        reply.metadata.__dict__["_message_id"] = reply.object_id
        with no_object_id_recompute():
            told = message_to_proto(remove_content_from_message(reply)), get_object_tree(reply)
            parts = {name: one.deflate() for name, one in get_all_nested_objects(reply).items()}
        self.named[asked] = told
        return parts

    def PullMessages(self, request):  # noqa: N802
        found = [self.named.pop(name) for name in request.message_ids if name in self.named]
        return PullAppMessagesResponse(
            messages_list=[message for message, _ in found],
            message_object_trees=[tree for _, tree in found],
        )

    def PullObject(self, request):  # noqa: N802
        name = request.object_id
        self.pulled.append(name)
        return PullObjectResponse(
            object_found=name not in self.lost,
            object_available=name in self.there,
            object_content=self.there.get(name, b""),
        )

    def ConfirmMessageReceived(self, request):  # noqa: N802
        self.confirmed.append(request.message_object_id)


@pytest.fixture
def link(monkeypatch):
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 7)
    return Link()


@pytest.fixture
def grid(link, monkeypatch):
    monkeypatch.setattr(PromptGrid, "_runtime_client", link)
    grid = PromptGrid("nowhere:1", True, None, token="token")
    grid.set_run(Run.create_empty(7))
    return grid


def test_a_reply_is_given_out_once_and_as_it_was_sent(grid, link):
    link.there = link.begin("one", PAYLOAD)
    (reply,) = grid.pull_messages(["one"])
    assert payload_of(reply.content)[0] == PAYLOAD
    assert reply.metadata.reply_to_message_id == "one"
    assert link.confirmed == [reply.metadata.message_id]
    assert grid.pull_messages(["one"]) == []


def test_what_did_not_come_yet_is_asked_for_at_the_next_look_and_the_rest_not_again(grid, link):
    parts = link.begin("one", PAYLOAD)
    assert len(parts) > 3
    for name in parts:
        assert grid.pull_messages(["one"]) == []
        link.there[name] = parts[name]
    (reply,) = grid.pull_messages(["one"])
    assert payload_of(reply.content)[0] == PAYLOAD
    assert len(link.pulled) <= 2 * len(parts) + 1


def test_a_reply_on_its_way_holds_up_no_other(grid, link):
    link.begin("slow", PAYLOAD)
    link.there = link.begin("quick", b"quick")
    (reply,) = grid.pull_messages(["slow", "quick"])
    assert payload_of(reply.content)[0] == b"quick"


def test_a_reply_whose_parts_cannot_come_any_more_is_an_error_after_which_it_is_asked_for_again(
    grid, link
):
    parts = link.begin("one", PAYLOAD)
    assert grid.pull_messages(["one"]) == []
    link.lost = set(parts)
    (reply,) = grid.pull_messages(["one"])
    assert reply.error.code == ErrorCode.MESSAGE_UNAVAILABLE
    assert reply.metadata.reply_to_message_id == "one"
    assert not link.confirmed


def test_parts_of_a_reply_that_nobody_looks_for_any_more_are_dropped(grid, link, monkeypatch):
    link.begin("one", PAYLOAD)
    grid.pull_messages(["one"])
    assert grid._begun
    monkeypatch.setattr(arriving, "_FORGOTTEN", -1.0)
    grid.pull_messages(["other"])
    assert not grid._begun
