"""Replay: the first update of a site, again and again.

A reply names the message that it answers, by which a server tells that it is an old one.
"""

from __future__ import annotations

from pathlib import Path

from fedbench.attacks.attack import Attack
from fedbench.files import write_bytes
from fedbench.snapshots import whole
from fedbench.wire.frame import opened

_FIRST = "first.reply"  #: in the site's folder


def replay() -> Attack:
    """The reply of the first participation in place of every later one."""
    return Attack(reply=_first)


def _first(reply: bytes, folder: Path) -> bytes:
    """What was sent first; replies without tensors, such as scores, are honest."""
    if not len(opened(reply)[1]):
        return reply
    path = folder / _FIRST
    if not path.exists():
        write_bytes(path, reply)
    whole(path)
    return path.read_bytes()
