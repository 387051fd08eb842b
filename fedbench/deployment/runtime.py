"""The tasks that a SuperLink or SuperNode of this machine has for an app.

Flower would start a process for each message, with code that came from the server. Here the process
that holds the model takes the tasks itself, one after the other: it outlives messages, and runs
nothing but what is installed. It proves itself with a secret in a file that only its user can read.
"""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import httpx
from flwr.proto.runtime_pb2 import AcquireTaskRequest, SendTaskHeartbeatRequest
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.retry import RetryInvoker, make_simple_http_retry_invoker
from flwr.supercore.runtime import RuntimeHttpClient

from fedbench.errors import FedbenchError
from fedbench.files import write_bytes

_UNKNOWN = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN})
# What Flower's clients say of a connection, people are told in our words.
logging.getLogger("flwr").setLevel(logging.ERROR)
_PROTECTED = frozenset({"/flwr.proto.Runtime/AcquireTask"})


@dataclass(frozen=True)
class Runtime:
    """Where the tasks of a machine are given out."""

    address: str  #: host:port
    secret: Path  #: file
    authority: bytes | None = None  #: certificate to check it by; None: no TLS, on one machine
    started: Popen[bytes] | None = None  #: what gives them out, if this process knows it

    def client(self, token: str = "") -> RuntimeHttpClient:
        """A client: of whoever has the secret, or of a task that has this token."""
        # Whoever asks for tasks looks to it itself, between two tries, whether to go on.
        if token:
            proof, again = RuntimeTokenHttpInterceptor(token), make_simple_http_retry_invoker()
            give_up(again, self._over)
        else:
            secret = self.secret.read_bytes()
            proof = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=_PROTECTED)
            again = None
        return RuntimeHttpClient.from_server_address(
            server_address=self.address,
            insecure=self.authority is None,
            root_certificates=self.authority,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="fedbench"), proof],
            retry_invoker=again,
        )

    def _over(self, error: Exception) -> bool:
        """Whether a task is over that a call of it failed with this.

        Whoever gave it out ended, or knows it no more, on which Flower would interrupt its process.
        """
        if self.started is not None and self.started.poll() is not None:
            return True
        return isinstance(error, httpx.HTTPStatusError) and error.response.status_code in _UNKNOWN


def give_up(calls: RetryInvoker, over: Callable[[Exception], bool]) -> None:
    """Let calls try again, which they do for ever, only until ``over`` says so of an error."""
    hopeless = calls.should_giveup
    calls.should_giveup = lambda error: over(error) or bool(hopeless and hopeless(error))


def new_secret(path: Path) -> Path:
    """A secret that nobody knew before, in a file that only its owner can read."""
    write_bytes(path, secrets.token_bytes(32), secret=True)
    return path


def free_port() -> int:
    """A port of this machine that nobody uses just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def tokens(runtime: Runtime, kind: str, pause: float, going: Callable[[], bool]) -> Iterator[str]:
    """Tokens of the tasks of a ``kind``, as they come, while ``going`` says so.

    Nobody who answers is no reason to stop: whoever gives out tasks may be starting.

    Raises:
        FedbenchError: somebody else answers there.
    """
    with _closing(runtime.client()) as client:
        while going():
            try:
                found = client.AcquireTask(AcquireTaskRequest(supported_task_types=[kind]))
            except httpx.TransportError:
                time.sleep(pause)
                continue
            except httpx.HTTPStatusError:
                raise FedbenchError(
                    f"Another program of Flower's has {runtime.address}: end it, or take another "
                    "port."
                ) from None
            if found.token:
                yield found.token
            else:
                time.sleep(pause)


@contextmanager
def task_client(runtime: Runtime, token: str) -> Iterator[RuntimeHttpClient]:
    """A client of one task, which counts as alive inside the block."""
    with _closing(runtime.client(token)) as client:

        def beat() -> bool:
            with suppress(httpx.HTTPError):
                client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
            return True

        sender = HeartbeatSender(beat)
        sender.start()
        try:
            yield client
        finally:
            sender.stop()


@contextmanager
def _closing(client: RuntimeHttpClient) -> Iterator[RuntimeHttpClient]:
    try:
        yield client
    finally:
        client.close()
