"""The corpus on disk: one gzip file of documents, kept for later overlap checks."""

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path

from fedbench.files import write_bytes

END = "<|end|>"
_SEPARATOR = f"\n{END}\n"


def write_documents(path: Path, documents: Iterable[str]) -> None:
    """Write the documents; the same documents give the same bytes."""
    text = "".join(document + _SEPARATOR for document in documents)
    write_bytes(path, gzip.compress(text.encode(), compresslevel=6, mtime=0))


def read_documents(path: Path) -> Iterator[str]:
    """Yield the documents of a corpus file."""
    text = gzip.decompress(path.read_bytes()).decode()
    yield from text.split(_SEPARATOR)[:-1]
