"""Bad input, made from good input: seeded mutations of bytes, of JSON values, and of payloads.

A payload's checksum would stop nearly every mutation at the door, so most are sealed again, and
what lies behind is reached, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import resource
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.wire import frame, opened
from fedbench.wire.codecs import STAGES
from fedbench.wire.schema import digest, read

Trial = Callable[[bytes], object]

_DEEP: Any = 1
for _ in range(400):
    _DEEP = [_DEEP]

#: what no field expects, or what is dear to compute with
NASTY: Sequence[Any] = (
    *(None, True, False, 0, -1, 1, 2, 7, 255, 2**31 - 1, 2**31, 2**53 + 1, -(2**63), 10**400),
    *(0.5, -0.0, 1e308, math.nan, math.inf, -math.inf, "", " ", "0", "nan", "a" * 2000, "\x00"),
    *("\ud800", "é", "/", "..", "adapter/table", "delta/x.lora_B.y", "extra/", "fp32", "int8"),
    *([], {}, [[]], [[], []], {"a": 1}, [1, 2], ["site-00"], [["w", [2, 3]]], _DEEP, ["\ud800"]),
)
_CODECS = (
    *(*STAGES, "ef+int8", "delta+int4", "top-k:share=1+int8", "low-rank:rank=1e9", "fp32:x=1"),
    *("low-rank+low-rank", "top-k:share=1+top-k:share=1+top-k:share=1", "int8+int8"),
)


def of_bytes(random: Random, content: bytes, other: bytes = b"") -> bytes:
    """Bits flipped, bytes overwritten, pieces cut out, doubled, or taken from elsewhere."""
    found = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        at = random.randrange(len(found) + 1)
        stop = min(len(found), at + random.choice((1, 2, 4, 8, 64)))
        kind = random.randrange(8)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            found[at:stop] = bytes([random.choice((0, 1, 0x7F, 0x80, 0xFF))]) * (stop - at)
        elif kind == 2:
            del found[at:stop]
        elif kind == 3:
            del found[at:]
        elif kind == 4:
            found[at:at] = found[at:stop] * random.choice((1, 2, 50))
        elif kind == 5:
            found[at:at] = random.randbytes(random.choice((1, 4, 32)))
        elif kind == 6 and other:
            begin = random.randrange(len(other))
            found[at:] = other[begin:]
        else:
            size = random.choice((2, 4, 8))
            value = random.choice((0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), 2**16 - 1))
            found[at : at + size] = value.to_bytes(size, random.choice(("big", "little")))
    return bytes(found)


def of_value(random: Random, value: Any) -> Any:
    """A JSON value in which one thing somewhere is missing, doubled, or something else."""
    inside = isinstance(value, dict | list) and value and random.random() < 0.8
    if not inside:
        return random.choice(NASTY)
    if isinstance(value, dict):
        key = random.choice(list(value))
        kind = random.randrange(6)
        rest = {name: inner for name, inner in value.items() if name != key}
        if kind == 0:
            return rest
        if kind == 1:
            return {**rest, random.choice((f"{key}x", "", "\ud800", "kind")): value[key]}
        if kind == 2 and len(value) > 1:
            return {**value, key: value[random.choice(list(value))]}
        return {**value, key: of_value(random, value[key])}
    at = random.randrange(len(value))
    kind = random.randrange(6)
    if kind == 0:
        return [*value[:at], *value[at + 1 :]]
    if kind == 1:
        return [*value[:at], value[at], *value[at:]]
    if kind == 2:
        return value[::-1]
    return [*value[:at], of_value(random, value[at]), *value[at + 1 :]]


def sealed(rest: bytes) -> bytes:
    """A payload whose checksum is right, whatever is in it."""
    return frame._MAGIC + hashlib.sha256(rest).digest() + rest


def of_payload(random: Random, payload: bytes, other: bytes) -> bytes:
    """A payload with something wrong in its frame, its header, its layout or its body."""
    kind = random.randrange(12)
    if kind == 0:
        return of_bytes(random, payload, other)
    if kind == 1:
        return sealed(of_bytes(random, payload[frame._START :], other))
    header, body = opened(payload)
    if kind == 2:
        body = opened(other)[1]
    elif kind in (3, 4):
        body = of_bytes(random, bytes(body))
    elif kind == 5:
        return sealed(_twice(random, header, bytes(body)))
    elif kind == 6 and "codec" in header:
        header["codec"] = random.choice(_CODECS)
    elif kind in (7, 8) and "layout" in header:
        header["layout"] = of_value(random, json.loads(json.dumps(header["layout"])))
        with contextlib.suppress(Exception):
            header["schema"] = digest(read(header["layout"]))
    else:
        for _ in range(random.choice((1, 1, 2))):
            header = changed if isinstance(changed := of_value(random, header), dict) else header
    return sealed(_lead(json.dumps(header).encode()) + bytes(body))


def _lead(head: bytes) -> bytes:
    return len(head).to_bytes(4, "big") + head


def _twice(random: Random, header: dict[str, Any], body: bytes) -> bytes:
    """A header that is no object, tells a key twice, is nested deep, or lies about its length."""
    told = json.dumps(header)
    name = random.choice(list(header) or ["kind"])
    heads = (
        f'{{"{name}": 1, {told[1:]}',
        f'{told[:-1]}, "{name}": {json.dumps(random.choice(NASTY))}}}',
        json.dumps(list(header.items())),
        json.dumps(list(header)),
        "[" * 100_000,
        f'{told[:-1]}, "kind": {"[" * 2000}{"]" * 2000}}}',
        f'{told[:-1]}, "round": {"9" * 5000}}}',
        f'{told[:-1]}, "weight": 1e999}}',
        "null",
    )
    head = random.choice(heads).encode()
    if random.random() < 0.2:
        size = random.choice((0, 1, len(head) - 1, len(head) + 1, 2**31, 2**32 - 1))
        return size.to_bytes(4, "big") + head + body
    return _lead(head) + body


@dataclass
class Outcome:
    """What readers made of bad input: taken, refused, or a finding."""

    taken: int = 0
    refused: Counter[str] = field(default_factory=Counter)  #: by the sentence, digits left out
    findings: list[str] = field(default_factory=list)
    slowest: float = 0.0  #: seconds of processor time

    @property
    def inputs(self) -> int:
        return self.taken + self.refused.total() + len(self.findings)

    @property
    def counts(self) -> dict[str, int | float]:
        """As a campaign keeps it."""
        return {
            "trials": self.inputs,
            "findings": len(self.findings),
            "taken": self.taken,
            "ways_of_refusal": len(self.refused),
            "slowest_seconds": round(self.slowest, 2),
        }

    def trial(self, name: str, read: Trial, content: bytes, allowed: type = FedbenchError) -> None:
        """Have ``read`` read ``content``: it does, or raises an error that users are meant to see.

        More than a second of processor time is a finding like any other exception.
        """
        begun = time.process_time()
        try:
            read(content)
            self.taken += 1
        except allowed as error:
            told = str(error)
            kind = " ".join(word for word in told.split() if not re.search(r"[\d/]", word))
            self.refused[f"{name}: {kind[:60]}"] += 1
            if len(told) > 2000 or "\n" in told:
                self._find(name, f"not one sentence: {told[:300]!r}", content)
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{at.name} ({Path(at.filename).name}, line {at.lineno})"
            self._find(name, f"{type(error).__name__} in {where}: {str(error)[:200]}", content)
        seconds = time.process_time() - begun
        self.slowest = max(self.slowest, seconds)
        if seconds > 1:
            self._find(name, f"{seconds:.1f} s", content)

    def _find(self, name: str, what: str, content: bytes) -> None:
        self.findings.append(f"{name}: {what}: of {content[:600]!r}")


@contextlib.contextmanager
def little_memory(room: int) -> Iterator[None]:
    """No more than ``room`` further bytes of address space: who asks for them is found out."""
    with open("/proc/self/statm", encoding="ascii") as told:
        used = int(told.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
