"""Parquet tables, read by a process of their own: what a bad file does to it, it does to it alone.

The library that reads them is large, and written in C++: a file made for it may end the process, or
take all memory. The other process has little of that and of time, and answers in lines of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from fedbench.errors import FedbenchError
from fedbench.paths import PACKAGE
from fedbench.tasks.parquet import rows_of

MEMORY = 4 << 30  #: bytes of address space of the other process, the library itself included
SECONDS = 300  #: for one file
_SAFE = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}


def rows_apart(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet table; what JSON has no form for (dates, bytes) comes as text.

    Raises:
        FedbenchError: this is no such table, it needs too much memory or time, or the library that
            reads it crashed.
    """
    with reader() as process:
        yield from rows_from(process, path)


@contextmanager
def reader(memory: int = MEMORY, seconds: int = SECONDS) -> Iterator[subprocess.Popen[str]]:
    """A process that reads one file after the other; it ends with the block."""
    places = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, str(memory), str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="ascii",
        env={**os.environ, **_SAFE, "PYTHONPATH": os.pathsep.join(filter(None, places))},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def rows_from(process: subprocess.Popen[str], path: Path) -> Iterator[dict[str, Any]]:
    """The rows of one file, as :func:`rows_apart` gives them; ``process`` is :func:`reader`'s."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):  # told below, by how it ended
        process.stdin.write(json.dumps(str(path)) + "\n")
        process.stdin.flush()
    for line in process.stdout:
        told = json.loads(line)
        if isinstance(told, dict):
            yield told
        elif told is None:
            return
        else:
            raise FedbenchError(f"{path} {told}.")
    ended = "took too long" if process.wait() == -signal.SIGALRM else "made its reader crash"
    raise FedbenchError(
        f"{path} {ended}: the file is damaged, or too large to be read here: fetch it again, or "
        "write it as .jsonl."
    )


def _serve(asked: IO[str], answers: IO[str], memory: int, seconds: int) -> None:
    """Answer every path with its rows and null, or with what is wrong, as the end of a sentence."""
    _limit(memory)
    for line in asked:
        if hasattr(signal, "alarm"):
            signal.alarm(seconds)  # which ends the process, wherever it is
        path = Path(json.loads(line))
        try:
            for row in _rows(path):
                answers.write(json.dumps(row, default=str) + "\n")
            answers.write("null\n")
        except FedbenchError as error:
            answers.write(json.dumps(str(error).removeprefix(f"{path} ").rstrip(".")) + "\n")
        except MemoryError:
            answers.write('"takes more memory than is given to it: split it"\n')
        except Exception:  # whatever the library may raise
            answers.write('"is not a Parquet table; the file seems damaged: fetch it again"\n')
        answers.flush()


def _rows(path: Path) -> list[dict[str, Any]]:
    from pyarrow import ArrowMemoryError

    try:
        return rows_of(path)
    except ArrowMemoryError:
        raise MemoryError from None


def _limit(memory: int) -> None:
    """Bound the memory of this process, and leave no core behind, where the system can do that."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


if __name__ == "__main__":
    _serve(sys.stdin, sys.stdout, int(sys.argv[1]), int(sys.argv[2]))
