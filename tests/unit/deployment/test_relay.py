"""The relay that stands for a bad line between a site and its server."""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time

import pytest

from fedbench.deployment import issuing
from tests import relay as relaying
from tests.relay import SEGMENT, Line, Relay


@pytest.fixture
def echo():
    """The port of a server that sends everything back."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_answer_all, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1]


def _answer_all(listening):
    while True:
        try:
            one, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(one,), daemon=True).start()


def _answer(one):
    with one:
        try:
            while got := one.recv(65536):
                one.sendall(got)
        except OSError:
            pass


def _connect(relay):
    return socket.create_connection(("127.0.0.1", relay.port), timeout=60)


def _all_of(one, size):
    got = bytearray()
    while len(got) < size and (part := one.recv(65536)):
        got += part
    return bytes(got)


def _echoed(relay, content):
    """What comes back, sent from a thread so that a full line stops neither direction."""
    with _connect(relay) as one:
        sending = threading.Thread(target=one.sendall, args=(content,))
        sending.start()
        got = _all_of(one, len(content))
        sending.join()
        return got


def test_content_arrives_as_it_was_sent(echo):
    content = random.Random(0).randbytes(3_000_000)
    line = Line(delay=0.01, rate=500e6)
    with Relay(echo, line, line) as relay:
        assert _echoed(relay, content) == content
        passed = {"up": len(content), "down": len(content)}
        # What arrived is counted a moment later, which is long where others use the processors.
        ends = time.monotonic() + 30
        while relay.passed != passed and time.monotonic() < ends:
            time.sleep(0.01)
        assert relay.passed == passed


def test_an_end_of_what_is_sent_is_passed_on(echo):
    with Relay(echo, Line(delay=0.02)) as relay, _connect(relay) as one:
        one.sendall(b"hello")
        one.shutdown(socket.SHUT_WR)
        assert _all_of(one, 99) == b"hello"


def test_what_was_sent_before_both_ends_ended_reaches_a_slow_reader():
    got = []

    def read_late():
        one, _ = listening.accept()
        with one:
            one.shutdown(socket.SHUT_WR)
            time.sleep(0.05)
            got.append(_all_of(one, 300_000))

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=read_late)
        thread.start()
        with Relay(listening.getsockname()[1]) as relay:
            with _connect(relay) as one:
                one.sendall(bytes(300_000))
            thread.join()
    assert got == [bytes(300_000)]


def test_a_delay_is_of_each_direction(echo):
    with Relay(echo, Line(delay=0.06), Line(delay=0.04)) as relay, _connect(relay) as one:
        for _ in range(2):
            began = time.monotonic()
            one.sendall(b"hello")
            assert one.recv(9) == b"hello"
            assert 0.1 <= time.monotonic() - began < 0.3


def test_a_delay_slows_no_stream(echo):
    """A megabyte in many chunks comes as late as one byte does, and not later for each chunk."""
    with Relay(echo, Line(delay=0.05)) as relay:
        began = time.monotonic()
        _echoed(relay, bytes(1_000_000))
        assert 0.05 <= time.monotonic() - began < 0.6


def test_a_rate_is_that_of_all_connections_together(echo):
    line = Line(rate=1e6, burst=10_000)
    with Relay(echo, down=line) as relay:
        began = time.monotonic()
        threads = [threading.Thread(target=_echoed, args=(relay, bytes(100_000))) for _ in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 0.15 <= time.monotonic() - began < 0.5


def test_lost_segments_hold_the_stream_up_the_same_each_time(echo, monkeypatch):
    monkeypatch.setattr(relaying, "TIMEOUT", 0.03)

    def seconds(seed):
        with Relay(echo, Line(loss=0.5), seed=seed) as relay, _connect(relay) as one:
            began = time.monotonic()
            for _ in range(10):
                one.sendall(bytes(SEGMENT))
                _all_of(one, SEGMENT)
            return time.monotonic() - began

    draws = random.Random("7 up")
    lost = sum(draws.random() < 0.5 for _ in range(10))
    assert lost > 2
    assert lost * 0.03 <= seconds(7) < lost * 0.03 + 0.2


def test_a_cut_drops_connections_and_refuses_new_ones_until_it_is_mended(echo):
    with Relay(echo) as relay, _connect(relay) as one:
        one.sendall(b"hello")
        assert one.recv(9) == b"hello"
        relay.cut()
        with pytest.raises(ConnectionResetError):
            one.recv(9)
        with pytest.raises(ConnectionRefusedError):
            _connect(relay)
        relay.mend()
        assert _echoed(relay, b"hello") == b"hello"


def test_what_is_on_the_way_when_the_line_is_cut_never_arrives(echo):
    with Relay(echo, Line(delay=0.1)) as relay, _connect(relay) as one:
        one.sendall(b"hello")
        relay.cut()
        time.sleep(0.15)
        assert relay.passed["up"] == 0


def test_a_server_that_is_not_there_ends_the_connection():
    with socket.create_server(("127.0.0.1", 0)) as none:
        port = none.getsockname()[1]
    with Relay(port) as relay, pytest.raises(ConnectionResetError), _connect(relay) as one:
        one.recv(9)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_one_bit_is_corrupted_once(echo, direction):
    with Relay(echo) as relay:
        relay.corrupt(direction)
        got = _echoed(relay, bytes(100))
        assert sum(byte.bit_count() for byte in got) == 1
        assert _echoed(relay, bytes(100)) == bytes(100)


def _heard(one):
    """What arrives before the connection breaks."""
    try:
        return one.recv(9)
    except (ssl.SSLError, ConnectionError):
        return b""


@pytest.mark.parametrize("direction", ["up", "down"])
def test_under_tls_what_was_corrupted_breaks_the_connection_and_never_arrives(tmp_path, direction):
    issuing.issue_server(tmp_path, ["127.0.0.1"], 9)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    asking = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    heard = []

    def serve():
        try:
            plain, _ = listening.accept()
            with serving.wrap_socket(plain, server_side=True) as one:
                while got := one.recv(9):
                    heard.append(got)
                    one.sendall(got)
        except OSError:
            pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        with (
            Relay(listening.getsockname()[1]) as relay,
            _connect(relay) as plain,
            asking.wrap_socket(plain, server_hostname="127.0.0.1") as one,
        ):
            one.sendall(b"first")
            assert one.recv(9) == b"first"
            relay.corrupt(direction)
            one.sendall(b"second")
            assert _heard(one) == b""
        thread.join()
    assert heard == ([b"first"] if direction == "up" else [b"first", b"second"])
