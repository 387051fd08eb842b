"""What a tutorial tells people to type, and what it says is printed, taken from its page.

A block's first line says where it is typed: ``# hospital-a``; or which file it is, and where:
``# all machines: letters.yml``. A block of ``text`` after it is what it prints.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

EVERYWHERE = "all machines"
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_VARYING = (
    # what digits or letters of a fingerprint, hash or run stand for
    (re.compile(r"\b(?:[0-9a-f]{2}:){3,}[0-9a-f]{2}:?"), "FINGERPRINT"),
    (re.compile(r"\b[0-9a-f]{16,64}\b"), "HASH"),
    (re.compile(r"/\S*/(?=federation|site)"), "/"),  # folders above ours
    (re.compile(r"\babout .* left\b|\bthe last one\b"), "LEFT"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "N"),
)


class Block(NamedTuple):
    """Something that is typed, or a file that is written."""

    machine: str
    text: str
    file: str = ""  #: empty: it is typed
    printed: str = ""  #: what the page says that it prints


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order; of what runs side by side, what is said stands apart.

    Raises:
        ValueError: a block does not say where it is typed.
    """
    found: list[Block] = []
    for kind, body in _FENCE.findall(page.read_text(encoding="utf-8")):
        if kind == "text":
            found[-1] = found[-1]._replace(printed=found[-1].printed + body)
            continue
        first, _, text = body.partition("\n")
        told = re.fullmatch(r"# ([\w .-]+?)(?:: (\S+))?", first)
        if told is None:
            raise ValueError(f"A block does not say where it is typed: {first}")
        found.append(Block(told[1], text, told[2] or ""))
    return found


def structure(printed: str) -> list[str]:
    """Lines without what differs each time: times, digits, fingerprints, folders."""
    lines = printed.splitlines()
    for pattern, word in _VARYING:
        lines = [pattern.sub(word, line) for line in lines]
    return lines
