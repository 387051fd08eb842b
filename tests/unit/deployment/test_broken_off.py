"""A SuperNode that ends, or forgets a message, while its site answers that message."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

pytest.importorskip("flwr", reason="Flower is not installed: make env EXTRAS=dev,flower")

import httpx
from flwr.app import Context, Message, RecordDict
from flwr.proto.runtime_pb2 import AcquireTaskResponse, PullTaskInputRequest
from flwr.supercore import heartbeat
from flwr.supercore.task_identity import TaskIdentity

from fedbench.deployment import node as nodes
from fedbench.deployment.node import answer_messages
from fedbench.deployment.runtime import Runtime, free_port, new_secret, task_client

TOKEN = AcquireTaskResponse(token="one").SerializeToString()


@pytest.fixture
def process():
    """A process that is there until it is killed."""
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield started
    started.kill()
    started.wait()


@pytest.fixture
def superlike(process, tmp_path):
    """What has a task to give out, and knows nothing of it later; and how to end it."""

    class Tasks(BaseHTTPRequestHandler):
        code = 401

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            found = self.path.endswith("acquire-task")
            self.send_response(200 if found else self.code)
            self.send_header("content-type", "application/protobuf")
            self.send_header("content-length", str(len(TOKEN) if found else 0))
            self.end_headers()
            self.wfile.write(TOKEN if found else b"")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Tasks) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        serving.start()

        def end():
            server.shutdown()
            server.server_close()
            process.kill()
            process.wait()

        address = f"127.0.0.1:{server.server_port}"
        yield Runtime(address, new_secret(tmp_path / "secret"), started=process), Tasks, end
        server.shutdown()


def in_seconds(what, most=15):
    """What came of ``what``, which must not wait for ever."""
    found = []
    thread = threading.Thread(target=lambda: found.append(what()), daemon=True)
    thread.start()
    thread.join(most)
    assert found, "It goes on for ever."
    return found[0]


def test_calls_of_a_task_are_given_up_once_its_supernode_has_ended(process, tmp_path):
    process.kill()
    process.wait()
    secret = new_secret(tmp_path / "secret")
    runtime = Runtime(f"127.0.0.1:{free_port()}", secret, started=process)

    def ask():
        with task_client(runtime, "one") as client, pytest.raises(httpx.TransportError):
            client.PullTaskInput(PullTaskInputRequest())
        return True

    assert in_seconds(ask)


@pytest.mark.parametrize("code", [401, 403, 500])
def test_a_message_that_a_supernode_knows_no_more_interrupts_no_site(superlike, monkeypatch, code):
    """Flower would interrupt the process, or raise what nobody catches."""
    runtime, tasks, _ = superlike
    tasks.code = code
    monkeypatch.setattr(heartbeat, "HEARTBEAT_DEFAULT_INTERVAL", 5.01)  # so that some are sent
    app = lambda message, context: pytest.fail("There was no message.")  # noqa: E731
    assert in_seconds(lambda: answer_messages(runtime, app, lambda: True) is None)


def test_a_site_whose_supernode_dies_in_a_turn_is_free_to_connect_anew(superlike, monkeypatch):
    runtime, _, end = superlike
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    message = Message(RecordDict(), dst_node_id=1, message_type="query")
    context = Context(1, 1, {}, RecordDict(), {})
    monkeypatch.setattr(nodes, "_pulled", lambda client: (message, context))
    answered = []

    def app(asked, _):
        answered.append(asked)
        end()
        return Message(RecordDict(), reply_to=asked)

    assert in_seconds(lambda: answer_messages(runtime, app, lambda: True) is None)
    assert answered == [message]


def test_an_error_of_the_app_itself_is_no_broken_connection(superlike, monkeypatch):
    """Such as one of the same kind, when a backbone is fetched: it is not passed over."""
    runtime, _, _ = superlike
    monkeypatch.setattr(nodes, "_pulled", lambda client: (None, None))

    def app(asked, _):
        raise httpx.ConnectError("No backbone.")

    with pytest.raises(httpx.ConnectError, match="No backbone"):
        answer_messages(runtime, app, lambda: True)
