"""Manifests: the SHA-256 of each file of a folder, written last, compared before one is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fedbench.errors import Damaged, FedbenchError
from fedbench.files import read_json, write_json
from fedbench.hashing import sha256_bytes, sha256_file
from fedbench.paths import within

MANIFEST = "manifest.json"


def write_manifest(directory: Path, names: Iterable[str]) -> None:
    """Write down what the files ``names`` of ``directory`` are.

    Raises:
        FedbenchError: the disk is full or the folder cannot be written.
    """
    files = {name: sha256_file(directory / name) for name in sorted(names)}
    write_json(directory / MANIFEST, {"files": files})


def harmed(directory: Path) -> Iterator[Path]:
    """Files of ``directory`` that are not what its manifest says; itself, if it is none."""
    try:
        expected = files_of(directory)
    except FedbenchError:
        yield directory / MANIFEST
        return
    for name, digest in expected.items():
        if _digest(directory, name) != digest:
            yield directory / name


def files_of(directory: Path) -> Mapping[str, str]:
    """SHA-256 by file, as the manifest has them.

    Raises:
        Damaged: it is no manifest.
    """
    content = read_json(directory / MANIFEST)
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not all(isinstance(one, str) for one in files.values()):
        raise Damaged(f"{directory / MANIFEST} lists no files: restore it.")
    return files


def whole(directory: Path, name: str) -> bytes | None:
    """The content of a file, or None if it is not what the manifest says."""
    try:
        content = (directory / name).read_bytes()
    except OSError:
        return None
    return content if sha256_bytes(content) == files_of(directory).get(name) else None


def _digest(directory: Path, name: str) -> str | None:
    try:
        return sha256_file(within(directory, name))
    except (FedbenchError, OSError, ValueError):  # of a name that no file of it can have
        return None
