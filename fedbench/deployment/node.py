"""The site's end of Flower: a SuperNode beside this process, which answers its messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import httpx
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.common.serde import context_from_proto
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PullTaskInputRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    pull_and_inflate_object_from_tree,
)
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.runtime.run_clientapp import push_message, push_task_output

from fedbench.deployment.children import child
from fedbench.deployment.runtime import Runtime, free_port, new_secret, task_client, tokens
from fedbench.files import private_folder

_COMPLETED = "completed"
_LOOK = 0.1  #: seconds between two looks for a message; each takes processor time of the machine
_PAUSE = 0.02  #: the same for parts of one that was named, which are about to be there
_BROKEN = (httpx.HTTPError, ObjectPullError, ObjectPushError)
_LONGEST_PAUSE = 0.5  #: the same, while a large one is on its way


@dataclass(frozen=True)
class Entrance:
    """How a site reaches its server, and proves who it is."""

    server: str  #: host:port
    authority: Path | None = None  #: certificate to check the server by; None: plain text
    key: Path | None = None  #: the site's private key

    def options(self) -> list[str]:
        """The same for ``flower-supernode``."""
        if self.authority is None:
            return ["--superlink", self.server, "--insecure"]
        told = ["--superlink", self.server, "--root-certificates", str(self.authority)]
        return [*told, "--auth-supernode-private-key", str(self.key)] if self.key else told


@contextmanager
def node(entrance: Entrance, home: Path) -> Iterator[tuple[Popen[bytes], Runtime]]:
    """A SuperNode inside the block, and where it gives out its messages."""
    private_folder(home)
    port, secret = free_port(), new_secret(home / "secret")
    options = [
        *entrance.options(), "--isolation", "process", "--superexec-auth-secret-file", str(secret),
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    with child("node", options, home) as started:
        yield started, Runtime(f"127.0.0.1:{port}", secret, started=started)


def answer_messages(runtime: Runtime, app: ClientApp, going: Callable[[], bool]) -> None:
    """Answer every message of a SuperNode with ``app``, one after the other.

    Until ``going`` says no, or a message cannot be had of the SuperNode or its reply not given to
    it, because it ended or knows the message no more. Nothing is lost by that: whoever connects
    anew is sent the message again.
    """
    for token in tokens(runtime, TaskType.CLIENT_APP, _LOOK, going):
        with task_client(runtime, token) as client:
            try:
                message, context = _pulled(client)
            except _BROKEN:
                return
            reply = app(message, context)
            try:
                push_message(client, reply, context)
            except _BROKEN:
                return
            push_task_output(client, None, _COMPLETED, "")


def _pulled(client: RuntimeHttpClient) -> tuple[Message, Context]:
    """The message of a task, and what Flower keeps beside it.

    Flower's own function waits a second for parts that a SuperNode does not have yet, which is
    always so when a message is asked for as soon as there is one.
    """
    told = client.PullTaskInput(PullTaskInputRequest())
    context = context_from_proto(told.context)
    TaskIdentity.task_id, TaskIdentity.run_id = told.task_id, told.run.run_id
    TaskIdentity.node_id = context.node_id
    (tree,) = client.PullMessages(PullAppMessagesRequest()).message_object_trees
    about = Node(node_id=context.node_id), context.run_id
    message = pull_and_inflate_object_from_tree(
        tree,
        make_pull_object_fn_protobuf(client.PullObject, *about),
        make_confirm_message_received_fn_protobuf(client.ConfirmMessageReceived, *about),
        return_type=Message,
        initial_backoff=_PAUSE,
        backoff_cap=_LONGEST_PAUSE,
    )
    message.metadata.__dict__["_message_id"] = tree.object_id
    return message, context
