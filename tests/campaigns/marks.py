"""Texts that occur nowhere else, and the search for them in everything that was written and said.

A mark is made of letters that hardly ever stand together, so that eight of them in a row are found
by one expression in any bytes, and belong to a mark or are looked up and dismissed.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LETTERS = "JKQVWXZ"
LENGTH = 16
FRAGMENT = 8
_SUSPECT = re.compile(f"[{LETTERS}{LETTERS.lower()}]{{{FRAGMENT},}}".encode())
_STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.DOTALL)


@dataclass(frozen=True)
class Marks:
    """Makes marks, and knows every fragment of those that it made."""

    random: random.Random
    fragments: set[str]

    @classmethod
    def of(cls, seed: int) -> Marks:
        return cls(random.Random(seed), set())

    def new(self) -> str:
        made = "".join(self.random.choices(LETTERS, k=LENGTH))
        self.fragments.update(made[i : i + FRAGMENT] for i in range(LENGTH - FRAGMENT + 1))
        return made

    def found_in(self, content: bytes) -> list[str]:
        """Every stretch of ``content`` that holds eight letters or more of a mark, in any case.

        Of texts of two bytes a letter, the zeros are left out.
        """
        stretches = [
            stretch.decode().upper()
            for read in (content, content.replace(b"\0", b""))
            for stretch in _SUSPECT.findall(read)
        ]
        return [one for one in stretches if not self.fragments.isdisjoint(_windows(one))]


def _windows(stretch: str) -> Iterator[str]:
    return (stretch[i : i + FRAGMENT] for i in range(len(stretch) - FRAGMENT + 1))


def contents(path: Path) -> Iterator[bytes]:
    """What a file holds: its bytes, and what they unpack to."""
    raw = path.read_bytes()
    yield str(path.name).encode()
    yield raw
    if path.suffix == ".parquet":
        yield _table(path)
    elif path.suffix == ".png":
        yield _words_of_picture(raw)
    elif path.suffix == ".pdf":
        yield from map(_inflated, _STREAM.findall(raw))
    elif raw[:2] == b"\x1f\x8b":
        yield gzip.decompress(raw)
    elif raw[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(raw)) as packed:
            yield from (packed.read(name) for name in packed.namelist())


def _table(path: Path) -> bytes:
    from pyarrow import parquet

    table = parquet.read_table(path)
    return json.dumps([table.to_pylist(), str(table.schema.metadata)], default=str).encode()


def _words_of_picture(raw: bytes) -> bytes:
    """Text that a picture carries beside its points, unpacked."""
    from PIL import Image

    with Image.open(io.BytesIO(raw)) as picture:
        picture.load()
        return str(picture.info).encode()


def _inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return stream


def searched(folders: Iterable[Path], find) -> tuple[list[str], int]:
    """Where ``find`` finds anything in files below ``folders``, and how many files there are."""
    paths = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    found = [f"{path}: {hits[0]}" for path in paths for c in contents(path) if (hits := find(c))]
    return found, len(paths)
