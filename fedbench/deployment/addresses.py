"""Where a server listens, and where sites reach it."""

from __future__ import annotations

NO_ADDRESS = "an address is HOST:PORT, such as fl.example.org:9092"


def is_address(text: str) -> bool:
    """Whether a text is a host and a port."""
    host, colon, port = text.rpartition(":")
    numbered = port.isdecimal() and port.isascii() and 0 < int(port) < 2**16
    return bool(host and colon and numbered and "/" not in host)
