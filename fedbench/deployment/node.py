"""The site's end of Flower: a SuperNode beside this process, which answers its messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from flwr.clientapp import ClientApp
from flwr.supercore.constant import TaskType
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from fedbench.deployment.children import child
from fedbench.deployment.runtime import Runtime, free_port, new_secret, task_client, tokens

_COMPLETED = "completed"
_PAUSE = 0.02  #: seconds between two looks for a message; it is the same machine


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
    home.mkdir(parents=True, exist_ok=True)
    port, secret = free_port(), new_secret(home / "secret")
    options = [
        *entrance.options(), "--isolation", "process", "--superexec-auth-secret-file", str(secret),
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    with child("node", options, home) as started:
        yield started, Runtime(f"127.0.0.1:{port}", secret)


def answer_messages(runtime: Runtime, app: ClientApp, going: Callable[[], bool]) -> None:
    """Answer every message of a SuperNode with ``app``, one after the other."""
    for token in tokens(runtime, TaskType.CLIENT_APP, _PAUSE, going):
        with task_client(runtime, token) as client:
            message, context, _, _ = pull_task_input(client)
            push_message(client, app(message, context), context)
            push_task_output(client, None, _COMPLETED, "")
