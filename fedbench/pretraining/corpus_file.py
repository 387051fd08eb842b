"""The corpus on disk: one gzip file of documents, kept for later overlap checks."""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from fedbench.errors import FedbenchError
from fedbench.files import write_bytes

END = "<|end|>"
_SEPARATOR = f"\n{END}\n"


def write_documents(path: Path, documents: Iterable[str]) -> None:
    """Write the documents; the same documents give the same bytes."""
    text = "".join(document + _SEPARATOR for document in documents)
    write_bytes(path, gzip.compress(text.encode(), compresslevel=6, mtime=0))


def read_documents(path: Path) -> Iterator[str]:
    """Yield the documents of a corpus file.

    Raises:
        FedbenchError: the file is missing or damaged.
    """
    try:
        yield from _documents(path)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        raise FedbenchError(
            f"{path} is missing or damaged: remove {path.parent} and build the corpus again."
        ) from None


def _documents(path: Path) -> Iterator[str]:
    lines: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as stream:
        for line in stream:
            if line == f"{END}\n":
                yield "".join(lines).removesuffix("\n")
                lines = []
            else:
                lines.append(line)
