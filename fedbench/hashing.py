"""Hashes of texts, files and plain values, the same on every machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def sha256_text(text: str) -> str:
    """SHA-256 of ``text`` in UTF-8, as hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of a value made of lists, dictionaries, strings, numbers, booleans and null."""
    return sha256_text(json.dumps(value, sort_keys=True, ensure_ascii=False))


def sha256_bytes(content: bytes) -> str:
    """SHA-256 of ``content``, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of the bytes of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def short(digest: str) -> str:
    """The sixteen digits by which people and files name a hash."""
    return digest[:16]
