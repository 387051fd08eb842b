"""What left the house: a line for every payload that a site sent, written before it leaves.

A line holds the hash of the line before it and of what it says itself, so that a line that was
changed, removed, inserted or moved breaks the chain at its place. Beside the record, a file with
the ending ``.head`` says how many lines there are and what the last hash is, so that lines cut off
at the end are missed, too. It is written after the line and before the payload leaves: a record may
have one line more than its head, whose writer was killed between both, and never one less.

A process that is killed while it writes a line leaves the beginning of one, without the line feed
at its end. Nothing of that was sent; the next line takes its place. Whatever else stands where the
head says that nothing does is told, and never repaired.

What this does not prove. There is no key in it: whoever can write both files can write another
record with another head, and the chain holds again. Against that, write the hash of the last line
down elsewhere from time to time, on paper or at somebody else's: :func:`verify` tells whether the
record still begins with all that stood before it. Nor does a record say that nothing else left the
house: it holds what this program sent, not what a machine did.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fedbench.errors import Damaged, FedbenchError
from fedbench.files import append_bytes, on_disk, read_json, write_json
from fedbench.hashing import sha256_bytes, short
from fedbench.limits import KIB
from fedbench.locks import locked

RECORD = Path("site/record.jsonl")  #: where a site keeps its record, unless it says otherwise
FIRST = "0" * 64  #: stands for the hash of the line before the first one
_LONGEST = 64 * KIB  #: bytes of a line; ours have some hundreds


@dataclass(frozen=True)
class Entry:
    """One payload that leaves a site."""

    time: str  #: in UTC, as ``2026-01-31T12:00:00+00:00``
    run: str  #: id of the run that it belongs to
    round: int
    kind: str  #: of reply, such as ``update`` or ``score``
    bytes: int  #: of the payload
    sha256: str  #: of the payload
    answers: str  #: seal of the message that it answers
    epsilon: float | None = None  #: spent so far, this payload included; None: none is told


@dataclass(frozen=True)
class Head:
    """How far a record reaches."""

    lines: int = 0
    size: int = 0  #: bytes of these lines
    hash: str = FIRST  #: of the last line


@dataclass(frozen=True)
class Verified:
    """A record that is what was written, as far as a chain without a key can tell."""

    n: int  #: payloads
    head: str  #: hash of the last line: to be written down elsewhere
    begin: str | None  #: time of the first payload; None if there is none
    end: str | None  #: time of the last one
    bytes: int  #: of all payloads
    torn: int = 0  #: bytes of a line that a killed process began; nothing of it was sent


def append(path: Path, entry: Entry) -> str:
    """Write an entry down, so that it outlasts a loss of power; return its hash.

    A payload may leave once this has returned, and not before.

    Raises:
        Damaged: the record does not end as its head says; nothing was written.
        FedbenchError: the disk is full or the folder cannot be written. The same.
    """
    with locked(path.with_name(f"{path.name}.lock")), on_disk(path):
        head = _reached(path)
        line, hash_ = _line(entry, head.hash)
        append_bytes(path, head.size, line)
        _write_head(path, Head(head.lines + 1, head.size + len(line), hash_))
    return hash_


def verify(path: Path, head: str | None = None) -> Verified:
    """Read the whole record and compare every hash, and its end with the head beside it.

    Args:
        path: of the record.
        head: a hash that somebody wrote down earlier; the record must still lead up to it.

    Raises:
        Damaged: the first line that is not what was written, or the head is not in the record.
        FedbenchError: there is no record.
    """
    found, hashes = _examined(path)
    if head is not None and head not in hashes:
        raise Damaged(
            f"{path} never had the head {head}: the record that had it was replaced, or a digit of "
            "it was copied wrongly."
        )
    return found


def entries(path: Path) -> list[Entry]:
    """What a record says, in order; only if it is what was written.

    Raises:
        Damaged, FedbenchError: see :func:`verify`.
    """
    verify(path)
    with on_disk(path), _opened(path, _read_head(path)) as handle:
        return [entry for entry, _ in _chain(path, handle, Head())]


_ROW = "{:25}  {:16} {:>5}  {:10} {:>13}  {:>8}  {:16}  {:16}"


def table(sent: Sequence[Entry]) -> list[str]:
    """Entries for people: a line each below a head; hashes by their first digits."""
    names = ("time", "run", "round", "kind", "bytes", "epsilon", "sha256", "answers")
    rows = [
        _ROW.format(
            *(one.time, one.run, one.round, one.kind, f"{one.bytes:,}"),
            "" if one.epsilon is None else f"{one.epsilon:.3f}",
            *(short(one.sha256), short(one.answers)),
        )
        for one in sent
    ]
    return [row.rstrip() for row in (_ROW.format(*names), *rows)]


def told(found: Verified) -> str:
    """What :func:`verify` found, as sentences."""
    since = f", from {found.begin} to {found.end}" if found.n else ""
    lines = [
        f"{found.n:,} payloads, {found.bytes:,} bytes{since}: the record is what was written.",
        f"head: {found.head}",
        "Write the head down elsewhere: who can write the record could write another one.",
    ]
    if found.torn:
        lines += [
            f"A process was killed while it wrote a line, of which {found.torn} bytes are there: "
            "nothing of that was sent."
        ]
    return "\n".join(lines)


def _examined(path: Path) -> tuple[Verified, set[str]]:
    """What a record holds, and the hash of each of its lines."""
    head = _read_head(path)
    hashes, total, at = {FIRST}, 0, Head()
    first: Entry | None = None
    last: Entry | None = None
    with on_disk(path), _opened(path, head) as handle:
        for last, at in _chain(path, handle, Head()):
            first, total = first or last, total + last.bytes
            hashes.add(at.hash)
            if at.lines == head.lines and at != head:
                raise Damaged(
                    f"{path} is not what was written: its lines follow from one another, but line "
                    f"{at.lines} is not the one that its head names, so that they were written "
                    "anew. Keep both files as they are for whoever looks into it, and begin "
                    "another record in a new folder."
                )
        torn = _size(handle) - at.size
    more = at.lines - head.lines
    if more not in (0, 1) or (more and torn):
        if _read_head(path) != head:  # somebody wrote on meanwhile
            return _examined(path)
        raise _changed(path, min(at.lines, head.lines + 1) + 1)
    begin, end = (None if one is None else one.time for one in (first, last))
    return Verified(at.lines, at.hash, begin, end, total, torn), hashes


def _chain(path: Path, handle: BinaryIO, at: Head) -> Iterator[tuple[Entry, Head]]:
    """The lines from a place on, up to the end or to one without a line feed.

    Raises:
        Damaged: a line does not follow from the one before it.
    """
    while (line := handle.readline(_LONGEST)).endswith(b"\n"):
        entry = _entry(line)
        again, hash_ = _line(entry, at.hash) if entry else (b"", "")
        # Written again, and not only read: no two texts of a line are taken for one another.
        if entry is None or again != line:
            raise _changed(path, at.lines + 1)
        at = Head(at.lines + 1, at.size + len(line), hash_)
        yield entry, at
    if len(line) == _LONGEST:
        raise _changed(path, at.lines + 1)


def _reached(path: Path) -> Head:
    """Where the next line goes: behind the last whole one, over what a killed process left.

    Raises:
        Damaged: there is no such place.
    """
    if not path.exists() and not _head_file(path).exists():
        _write_head(path, Head())
    head = _read_head(path)
    with _opened(path, head) as handle:
        if not _ends(handle, head):
            _examined(path)  # which tells the first line that is wrong
            raise _changed(path, head.lines)
        handle.seek(head.size)
        after = [at for _, at in _chain(path, handle, head)]
        size = _size(handle)
    if len(after) > 1 or (after and after[0].size != size):
        raise _changed(path, head.lines + 2)
    return after[0] if after else head


def _ends(handle: BinaryIO, head: Head) -> bool:
    """Whether the last line that the head counts is there, and says that it is."""
    if not head.lines:
        return True
    if _size(handle) < head.size:
        return False
    handle.seek(max(0, head.size - _LONGEST))
    last = handle.read(head.size - handle.tell()).splitlines(keepends=True)[-1]
    told = _plain(last)
    return last.endswith(b"\n") and told is not None and told.get("hash") == head.hash


def _size(handle: BinaryIO) -> int:
    return handle.seek(0, io.SEEK_END)


def _line(entry: Entry, before: str) -> tuple[bytes, str]:
    """An entry as a line behind one with the hash ``before``, and the hash of the line."""
    said = asdict(entry)
    hash_ = sha256_bytes((before + _written(said)).encode())
    return (_written({**said, "hash": hash_}) + "\n").encode(), hash_


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _entry(line: bytes) -> Entry | None:
    """What a line says; None if it is none of ours."""
    told = _plain(line)
    if told is None or told.pop("hash", None) is None:
        return None
    try:
        entry = Entry(**told)
    except TypeError:
        return None
    plain = type(entry.bytes) is int and isinstance(entry.time, str)
    return entry if plain else None


def _plain(line: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(line, parse_constant=float)
        _written(told)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _head_file(path: Path) -> Path:
    return path.with_suffix(".head")


def _write_head(path: Path, head: Head) -> None:
    write_json(_head_file(path), asdict(head))


def _read_head(path: Path) -> Head:
    """How far the record reaches, by the file beside it.

    Raises:
        FedbenchError: there is no record.
        Damaged: there is one without a head, or the head is damaged.
    """
    place = _head_file(path)
    if not place.exists():
        if not path.exists():
            raise FedbenchError(f"{path} does not exist: check the path of the record.")
        raise Damaged(
            f"{place} is missing, so that nobody can tell whether lines of {path} were cut off: "
            "restore it, or begin another record in a new folder."
        )
    try:
        told = read_json(place)
        head = Head(int(told["lines"]), int(told["size"]), str(told["hash"]))
    except (Damaged, KeyError, TypeError, ValueError):
        raise Damaged(
            f"{place} was changed by hand or damaged, so that nobody can tell whether lines of "
            f"{path} were cut off: restore it, or begin another record in a new folder."
        ) from None
    return head


def _opened(path: Path, head: Head) -> BinaryIO:
    """The record; an empty one if its first writer was killed before the first line."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        if head.lines:
            raise _changed(path, 1) from None
        return io.BytesIO()


def _changed(path: Path, line: int) -> Damaged:
    return Damaged(
        f"{path} is not what was written, from line {line} on: that line was changed, removed, "
        "inserted or moved; what stands before it holds. Keep the file as it is for whoever looks "
        "into it, and begin another record in a new folder."
    )
