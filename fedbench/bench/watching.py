"""When a message leaves, is taken, answered and back, seen from both ends by one clock.

Nothing is changed on the way: the grid is asked around, and so are two functions that a site's
process is given anyway. Both ends are processes of one machine, and ``time.monotonic`` is the same
in all of them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

from flwr.app import Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from fedbench.deployment import children
from fedbench.deployment.node import answer_messages
from fedbench.deployment.runtime import Runtime
from fedbench.engines import Engine, Failure
from fedbench.engines.over_flower import payload_of
from fedbench.errors import FedbenchError

#: what an exchange is made of, for the message whose answer came last
PARTS = ("push", "wait", "down", "work", "over", "back")
_ENDS = ("pushed", "taken", "in_hand", "answered", "handed", "arrived")

Moments = dict[str, dict[str, float]]  #: by Flower's name of a message


@dataclass(frozen=True)
class WatchedGrid:
    """A grid that keeps when each message was pushed and its reply pulled, and their bytes."""

    grid: Grid
    seen: Moments = field(default_factory=dict)

    def get_nodes(self) -> Any:
        """Who is there, as the grid says."""
        return self.grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Push them, as the grid does."""
        messages = [*messages]
        sizes = [len(payload_of(message.content)[0]) for message in messages]
        names = [*self.grid.push_messages(messages)]
        now = time.monotonic()
        for name, size in zip(names, sizes, strict=True):
            self.seen[name] = {"pushed": now, "bytes_down": size}
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Pull what is there, as the grid does."""
        began = time.monotonic()
        found = [*self.grid.pull_messages(message_ids)]
        now = time.monotonic()
        for reply in found:
            if reply.has_error():
                continue
            size = len(payload_of(reply.content)[0])
            told = {"looked": began, "arrived": now, "bytes_up": size}
            self.seen[reply.metadata.reply_to_message_id].update(told)
        return found


class Exchange(NamedTuple):
    """One exchange, as long as its engine took for it."""

    began: float
    ended: float


@dataclass(frozen=True)
class Watched:
    """An engine over a watched grid, and its exchanges so far."""

    engine: Engine
    exchanges: list[Exchange] = field(default_factory=list)

    def exchange(
        self, messages: Mapping[str, bytes], deadline: float | None = None
    ) -> Iterator[tuple[str, bytes | Failure]]:
        """What the engine does."""
        began = ended = time.monotonic()
        for found in self.engine.exchange(messages, deadline):
            ended = time.monotonic()
            yield found
        self.exchanges.append(Exchange(began, ended))


def answer_watched(file: Path) -> Callable[[Runtime, ClientApp, Callable[[], bool]], None]:
    """What answers messages like :func:`answer_messages`, and writes to ``file`` when it did."""

    def answering(runtime: Runtime, app: ClientApp, going: Callable[[], bool]) -> None:
        row: dict[str, Any] = {}

        def looking() -> bool:
            now = time.monotonic()
            if "answered" in row:
                with file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(row | {"handed": now}) + "\n")
                row.clear()
            row["taken"] = now
            return going()

        def timed(message: Message, context: Any) -> Message:
            row.update(name=message.metadata.message_id, in_hand=time.monotonic())
            reply = app(message, context)
            row["answered"] = time.monotonic()
            return reply

        answer_messages(runtime, cast(ClientApp, timed), looking)

    return answering


def merged(seen: Moments, files: Iterable[Path]) -> Moments:
    """What both ends saw of every message."""
    found = {name: dict(moments) for name, moments in seen.items()}
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found.get(row.pop("name"), {}).update(row)
    return found


def last_of(exchange: Exchange, moments: Moments) -> dict[str, float]:
    """The message of an exchange whose reply came last.

    Raises:
        FedbenchError: none of it was seen from both ends.
    """
    whole = [
        one
        for one in moments.values()
        if {*_ENDS} <= one.keys() and exchange.began <= one["pushed"] <= exchange.ended
    ]
    if not whole:
        raise FedbenchError("An exchange was not seen from both ends: a site's process failed.")
    return max(whole, key=lambda one: one["arrived"])


def parts_of(exchange: Exchange, moments: Moments) -> dict[str, float]:
    """Seconds of an exchange by part; they add up to all of it, but for giving the reply out."""
    last = last_of(exchange, moments)
    times = [exchange.began, *(last[end] for end in _ENDS)]
    parts = {
        part: after - before for part, (before, after) in zip(PARTS, pairwise(times), strict=True)
    }
    return {"seconds": exchange.ended - exchange.began, **parts}


@contextmanager
def beside(
    command: Sequence[str], home: Path, name: str = "said"
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of this environment inside the block; what it says goes to a file in ``home``."""
    home.mkdir(parents=True, exist_ok=True)
    # Flower starts programs of its own by their names.
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    log = home / f"{name}.log"
    with children.beside(command, home, log, {"PATH": programs}) as started:
        yield started


def module(name: str, *options: object) -> list[str]:
    """The command that runs a module of this package."""
    return [sys.executable, "-m", f"fedbench.bench.{name}", *map(str, options)]


def peaks() -> dict[str, list[float]]:
    """MiB that this process and its descendants took at most so far, by what they are."""
    found: dict[str, list[float]] = {}
    for process, kind in _family():
        found.setdefault(kind, []).append(
            int(_status(process).get("VmHWM", "0 kB").split()[0]) / 1024
        )
    return found


def busy() -> float:
    """Processor seconds that this process and its SuperLink have taken so far."""
    ticks = 0
    for process, kind in _family():
        if kind in ("server", "superlink"):
            after_name = (
                Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2]
            )
            ticks += sum(map(int, after_name.split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


_KINDS = {
    "superlink": re.compile(r"fedbench\.deployment\.children (\d+ )?link"),
    "supernode": re.compile(r"fedbench\.deployment\.children (\d+ )?node"),
    "site": re.compile(r"fedbench\.bench\.far site"),
}


def _family() -> Iterator[tuple[int, str]]:
    """This process and those descendants of it that are of a known kind."""
    of_parent: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if told := _status(int(folder.name)):
            of_parent.setdefault(int(told["PPid"]), []).append(int(folder.name))
    yield os.getpid(), "server"
    ahead = [*of_parent.get(os.getpid(), [])]
    while ahead:
        one = ahead.pop()
        ahead += of_parent.get(one, [])
        yield from ((one, kind) for kind, words in _KINDS.items() if words.search(_command(one)))


def _status(process: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # it ended meanwhile
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
