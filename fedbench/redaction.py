"""Secrets of this machine, such as the token of the Hugging Face hub, left out of what is said."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_LEFT_OUT = "[secret]"
_SHORTEST = 8  #: characters of a secret: what is shorter would be found in ordinary words
_NAMED = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|API_?KEY)S?$", re.IGNORECASE)
_KNOWN = re.compile(
    r"\bhf_(?=\w*\d)(?=\w*[A-Z])[A-Za-z0-9]{16,}"  # as the hub makes them
    r"|(?<=://)[^/\s@]+(?=@)"  # name and password of an address
    r"|(?<=[Bb]earer )\S+"
    # as an option or a variable gives them
    r"|(?<=token=)\S{8,}|(?<=secret=)\S{8,}|(?<=password=)\S{8,}|(?<=api-key=)\S{8,}"
    r"|(?<=-token )\S{8,}|(?<=-secret )\S{8,}|(?<=-password )\S{8,}|(?<=-api-key )\S{8,}"
)


def without_secrets(text: str) -> str:
    """``text`` with all secrets left out that this process or the hub's client knows, or that look
    like one.
    """  # fmt: skip
    for secret in sorted(set(_secrets()), key=len, reverse=True):
        text = text.replace(secret, _LEFT_OUT)
    return _KNOWN.sub(_LEFT_OUT, text)


def _secrets() -> Iterator[str]:
    """Values of variables that are named like secrets, and tokens that the hub's client keeps."""
    for name, value in os.environ.items():
        if _NAMED.search(name) and len(value) >= _SHORTEST:
            yield value
    for path in _token_files():
        try:
            kept = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        words = (line.rpartition("=")[2].strip() for line in kept.splitlines())
        yield from (word for word in words if len(word) >= _SHORTEST)


def _token_files() -> Iterator[Path]:
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    home = Path(os.environ.get("HF_HOME", cache)).expanduser()
    yield Path(os.environ.get("HF_TOKEN_PATH", home / "token")).expanduser()
    yield home / "stored_tokens"
