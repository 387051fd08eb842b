"""A message as a site receives it: what its header must say, and the tensors that it tells.

What a site was told before it keeps in its folder: the layouts of tensors, and, where it is told
changes, the tensors themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedbench.config import RunConfig
from fedbench.errors import Damaged, shown
from fedbench.files import read_json, write_json
from fedbench.models.tensors import Tensors
from fedbench.snapshots import damaged, keep, kept
from fedbench.wire import BadPayload, Schema, schema_of, tensors_of
from fedbench.wire.schema import digest, read

Header = Mapping[str, Any]

_FAR = 10**9  #: more than any round, turn or number of passes
_LAYOUTS = 4  #: that a site remembers; two are used in a round, and the server counts on no others


def _from(least: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value < _FAR


def _share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "round": _from(0),
    "turn": _from(0),
    "version": _from(0),
    "accepted": _from(-1),
    "holds": _from(-1),
    "form": lambda value: value in ("whole", "change", "same"),
    "personal": lambda value: isinstance(value, bool),
    "local_passes": lambda value: type(value) in (int, float) and 0 <= value < _FAR,
    "progress": lambda value: (
        isinstance(value, list) and len(value) == 2 and all(map(_share, value))
    ),
}
_ALL = ("round", "accepted", "holds", "form", "version")
_TURN = (*_ALL, "turn", "local_passes", "progress")
#: by kind of message: what its header must say
_NEEDED = {"train": _TURN, "personalise": _TURN, "validate": (*_ALL, "personal")}


def check(header: Header, config: RunConfig) -> None:
    """Make sure that a message asks for something that a site does, and says all it needs.

    Work without end is nothing that a site does: of passes over its examples, no more can be asked
    for than a round of this run can need.

    Raises:
        BadPayload: it does not; names the field.
    """
    kind = header.get("kind")
    if not isinstance(kind, str) or kind not in _NEEDED:
        raise BadPayload(f"A payload asks for {shown(kind)}, which no site does.")
    if absent := sorted(set(_NEEDED[kind]) - header.keys()):
        raise BadPayload(f"A payload to {kind} does not say {', '.join(absent)}.")
    for name in _NEEDED[kind]:
        if not _FIELDS[name](header[name]):
            value = shown(header[name])
            raise BadPayload(f"A payload to {kind} has {name} {value}, which cannot be.")
    if "local_passes" in _NEEDED[kind] and header["local_passes"] > _most_passes(config):
        passes = f"local_passes {header['local_passes']:g}"
        raise BadPayload(f"A payload to {kind} has {passes}, which no turn of this run can need.")


def _most_passes(config: RunConfig) -> float:
    """More than any turn takes, however small its cohort is drawn and however fast the site is."""
    # A cohort, rounded, has at least half of its share, and a pace is less than twice the mean.
    return config.passes * max(1.0, 4 / (config.rounds * config.participation))


def told(header: Header, body: memoryview, folder: Path, most: int) -> Tensors:
    """The tensors that a message tells; the layouts that were used last are remembered.

    Args:
        header: of the message.
        body: of the message.
        folder: of the site.
        most: numbers that it may hold.

    Raises:
        BadPayload: they do not fit what the header says, or their layout was never told.
    """
    path = folder / "schemas.json"
    known = dict(_remembered(path))
    tensors = tensors_of(header, body, known, most)
    if name := header.get("schema"):
        layout = known.pop(name, None) or read(header["layout"])
        after: list[tuple[str, Schema]] = [*known.items(), (name, layout)][-_LAYOUTS:]
        if [one for one, _ in after] != [one for one, _ in _remembered(path)]:
            write_json(path, after)
    return tensors


def _remembered(path: Path) -> list[tuple[str, Schema]]:
    """Layouts by name, the one that was used last at the end.

    Raises:
        Replaceable: one of them is not what its name stands for.
    """
    if not path.exists():
        return []
    try:
        found = [(name, read(layout)) for name, layout in read_json(path)]
    except (Damaged, BadPayload, TypeError, ValueError):
        raise damaged(path) from None
    if any(digest(schema) != name for name, schema in found):
        raise damaged(path)
    return found


def put_together(header: Header, tensors: Tensors, folder: Path) -> Tensors:
    """The whole of what a server tells that tells changes: sent, or added to what is held here.

    Raises:
        BadPayload: the message builds on something that this site does not hold.
    """
    if header["form"] != "whole":
        held = _held(folder, header["holds"])
        if tensors and schema_of(tensors) != schema_of(held):
            raise BadPayload("A message tells the change of other tensors than this site holds.")
        tensors = {name: t + tensors[name] for name, t in held.items()} if tensors else held
    now = _held_file(folder, header["version"])
    keep(now, {}, tensors)
    # If the server was stopped and asks again, it goes on from what it knew to be held here.
    for old in set(now.parent.glob("*.held")) - {now, _held_file(folder, header["holds"])}:
        old.unlink()
    return tensors


def _held(folder: Path, version: int) -> Tensors:
    path = _held_file(folder, version)
    if not path.exists():
        raise BadPayload(f"A message builds on version {version}, which this site does not hold.")
    return kept(path)[1]


def _held_file(folder: Path, version: int) -> Path:
    return folder / f"{version:05d}.held"
