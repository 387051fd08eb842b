"""A bad line, for tests: a TCP relay that delays, holds up, slows, cuts and corrupts.

**Loss is emulated.** A relay sees the bytes of a stream, not the segments that carry them, and can
lose none: what it took, the sender's kernel holds for delivered. What an application sees of a lost
segment is that the stream stands still until it is sent again, at least 200 ms later (the shortest
retransmission timeout of Linux). So for each 1,448 bytes (a segment's payload on Ethernet), with a
probability of ``loss``, the stream stands still for ``TIMEOUT``, once for each that is lost. Real
TCP mends most losses sooner, by fast retransmission, and sends more slowly after each; neither is
emulated, and a line with loss of its own needs ``netem``.

**Delay** is of each direction: a round trip takes twice that. It delays a stream without slowing
it, as a long line does; the window of TCP does not grow and shrink with it, because both ends of a
connection are on loopback.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

SEGMENT = 1448  #: bytes of a stream in one segment on Ethernet
TIMEOUT = 0.2  #: seconds for which the stream stands still when a segment is lost
_CHUNK = 16 * SEGMENT
_WAITING = 64  #: chunks on the line in one direction, then the sender has to wait

_Got = TypeVar("_Got")


@dataclass(frozen=True)
class Line:
    """How one direction of every connection behaves."""

    delay: float = 0.0  #: seconds from one end to the other
    loss: float = 0.0  #: probability that a segment is lost, and the stream stands still
    rate: float | None = (
        None  #: bytes a second, of all connections together; none is as fast as can
    )
    burst: int = 65536  #: bytes that go at once after a pause, where there is a rate


class _Bucket:
    """A token bucket: says how long to wait before so many bytes may go."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._free = 0.0  # when the line has sent all that was given to it

    def wait(self, size: int, now: float) -> float:
        if self._line.rate is None:
            return 0.0
        earliest = now - self._line.burst / self._line.rate
        self._free = max(self._free, earliest) + size / self._line.rate
        return max(0.0, self._free - now)


class Relay:
    """Listens on a port of loopback and passes everything on to another, in a thread of its own.

    ``with Relay(port, up=Line(delay=0.1), down=Line(rate=125_000)) as relay:`` and connect to
    ``relay.port``. ``up`` is from whoever connects to the server behind.
    """

    def __init__(
        self,
        to: int,
        up: Line | None = None,
        down: Line | None = None,
        *,
        host: str = "127.0.0.1",
        seed: int = 0,
    ) -> None:
        self.port = 0  #: on which it listens, once it has begun
        self.passed = {"up": 0, "down": 0}  #: bytes passed on so far
        self._to = (host, to)
        self._lines = {"up": up or Line(), "down": down or Line()}
        self._buckets = {name: _Bucket(line) for name, line in self._lines.items()}
        self._draws = {name: random.Random(f"{seed} {name}") for name in self._lines}
        self._spoil: set[str] = set()  # directions whose next chunk is corrupted
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: socket.socket | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        self._do(self._listen)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._do(self._drop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Reset all connections, and refuse new ones until :meth:`mend`."""
        self._do(self._drop)

    def mend(self) -> None:
        """Listen again, on the same port."""
        self._do(self._listen)

    def corrupt(self, direction: str = "down") -> None:
        """Flip one bit of the next chunk that goes ``up`` or ``down``."""
        self._spoil.add(direction)

    def _do(self, what: Callable[[], Coroutine[Any, Any, _Got]]) -> _Got:
        return asyncio.run_coroutine_threadsafe(what(), self._loop).result(timeout=30)

    async def _listen(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self._listening.setblocking(False)
        self.port = self._listening.getsockname()[1]
        self._loop.add_reader(self._listening, self._accept, self._listening)

    async def _drop(self) -> None:
        if self._listening is not None:
            self._loop.remove_reader(self._listening)
            self._listening.close()  # which resets those whom nobody accepted yet
            self._listening = None
        for writer in [*self._writers]:
            _reset(writer)
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # in which transports that were reset close their sockets

    def _accept(self, listening: socket.socket) -> None:
        # asyncio's own servers lose, unclosed, what they accept just before they are closed.
        try:
            near, _ = listening.accept()
        except OSError:  # it hung up before
            return
        near.setblocking(False)
        task = self._loop.create_task(self._relay(near))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: _reset_socket(near))

    async def _relay(self, accepted: socket.socket) -> None:
        ends: list[asyncio.StreamWriter] = []
        try:
            near, near_out = await asyncio.open_connection(sock=accepted, limit=_CHUNK)
            ends.append(near_out)
            self._writers.add(near_out)
            far, far_out = await asyncio.open_connection(*self._to, limit=_CHUNK)
            ends.append(far_out)
            self._writers.add(far_out)
            async with asyncio.TaskGroup() as both:
                for name, source, sink in (("up", near, far_out), ("down", far, near_out)):
                    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WAITING)
                    both.create_task(self._depart(name, source, on_the_way))
                    both.create_task(self._arrive(name, on_the_way, sink))
            for writer in ends:
                writer.close()
                await writer.wait_closed()
        except* OSError:  # one end hung up, or the server is not there: the other learns it at once
            pass
        finally:
            for writer in ends:
                _reset(writer)
                self._writers.discard(writer)

    async def _depart(
        self,
        name: str,
        source: asyncio.StreamReader,
        on_the_way: asyncio.Queue[tuple[float, bytes]],
    ) -> None:
        """Take each chunk, wait at the bottleneck, and put it on the way; an empty one is last."""
        chunk = b"any"
        while chunk:
            chunk = await source.read(_CHUNK)
            await asyncio.sleep(self._buckets[name].wait(len(chunk), self._loop.time()))
            await on_the_way.put((self._loop.time() + self._lines[name].delay, chunk))

    async def _arrive(
        self, name: str, on_the_way: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter
    ) -> None:
        """Hand over each chunk when it is there, in order; an empty one ends the direction."""
        while True:
            due, chunk = await on_the_way.get()
            await asyncio.sleep(due - self._loop.time() + self._lost(name, len(chunk)) * TIMEOUT)
            if not chunk:
                sink.write_eof()
                return
            if name in self._spoil:
                self._spoil.discard(name)
                middle = len(chunk) // 2
                chunk = chunk[:middle] + bytes([chunk[middle] ^ 1]) + chunk[middle + 1 :]
            sink.write(chunk)
            await sink.drain()
            self.passed[name] += len(chunk)

    def _lost(self, name: str, size: int) -> int:
        """How many segments of a chunk are lost."""
        loss = self._lines[name].loss
        segments = -(-size // SEGMENT) if loss else 0
        return sum(self._draws[name].random() < loss for _ in range(segments))


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection at once, so that its other end learns that something went wrong."""
    if not writer.transport.is_closing():
        _linger_no_time(writer.get_extra_info("socket"))
    writer.transport.abort()


def _reset_socket(one: socket.socket) -> None:
    """The same for a socket, unless it is closed."""
    if one.fileno() >= 0:
        _linger_no_time(one)
        one.close()


def _linger_no_time(one: socket.socket) -> None:
    """Have it closed by a reset, and not as after an end in order."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
