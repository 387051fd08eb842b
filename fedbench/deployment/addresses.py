"""Where a server listens, and where sites reach it."""

from __future__ import annotations


def check_address(address: str) -> str:
    """The same address, if it is one.

    Raises:
        ValueError: it is not a host and a port.
    """
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit() and 0 < int(port) < 2**16) or "/" in host:
        raise ValueError("an address is HOST:PORT, such as fl.example.org:9092")
    return address
