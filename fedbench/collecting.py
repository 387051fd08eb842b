"""What may be removed of the folder of computed things: only what can be computed again.

The rule, which ``python -m fedbench gc --help`` tells too:

- at once: what a process left that was killed (temporary files, the work of a run that is finished,
  half-executed notebooks), and checkpoints that other code, data or another backbone made;
- untouched for some days: checkpoints of unfinished runs that no shipped profile plans, folders of
  runs that hold no result, copies of notebooks that failed, caches;
- if asked: results that are stale and that no shipped profile plans;
- never: what a process works on, whatever else is a result, and work with a privacy ledger in it,
  because a budget that was spent must not be forgotten.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fedbench import profiles, store
from fedbench.config import RunConfig
from fedbench.durable import left_behind
from fedbench.errors import FedbenchError, refused
from fedbench.freshness import is_here, moved, work_key
from fedbench.locks import Busy, holder, locked
from fedbench.manifests import MANIFEST
from fedbench.paths import home, profile_names
from fedbench.privacy.ledger import LEDGER

DAYS = 30  #: that abandoned work is kept
_DAY = 86400.0  #: in seconds
_LOCKS = ("lock", "lock.held")  #: of a run: the second where there are no locks of the system
_KILLED = "left by a process that was killed"


@dataclass(frozen=True)
class Waste:
    """Something that may be removed, and why."""

    path: Path
    why: str
    size: int  #: bytes on disk


@dataclass(frozen=True)
class Found:
    """What a look at the folder of computed things found."""

    waste: tuple[Waste, ...]
    in_use: tuple[str, ...]  #: what was left alone, and who works on it


def collect(*, days: float = DAYS, stale: bool = False, remove: bool = False) -> Found:
    """Find what may be removed, and, with ``remove``, remove it.

    Args:
        days: how long work that was abandoned must have been left alone.
        stale: whether results count that are stale and that no shipped profile plans.
        remove: whether what was found goes; it is looked at and removed under its lock.

    Raises:
        FedbenchError: something cannot be removed, or a profile cannot be read.
    """
    waste: list[Waste] = []
    in_use: list[str] = []
    planned = _planned()
    looks: list[tuple[Path, Callable[[], Iterable[Waste]]]] = [
        (folder / "lock", partial(_of_run, folder, planned, days, stale))
        for folder in sorted((home() / "runs").glob("*/"))
    ]
    looks += [
        (folder.with_name(f"{folder.name}.lock"), partial(_of_notebooks, folder, days))
        for folder in sorted((home() / "notebooks").glob("*/"))
    ]
    looks += [
        (cache.with_name(f"{cache.name}.lock"), partial(_of_cache, cache, days))
        for cache in sorted((home() / "untrained").glob("[!.]*/"))
    ]
    for lock, look in looks:
        if not lock.parent.exists():  # it was removed meanwhile, and a lock would make it anew
            continue
        try:
            with locked(lock, wait=False):
                waste += _handled(look(), remove)
        except Busy:
            in_use.append(f"{lock.parent}: {holder(lock)}")
    waste += _handled(_elsewhere(days), remove)
    return Found(tuple(waste), tuple(in_use))


def told(found: Found, *, removed: bool) -> Iterator[str]:
    """The lines that ``python -m fedbench gc`` prints."""
    for one in found.waste:
        yield f"{one.size / 1e6:9.2f} MB  {one.path}: {one.why}"
    for text in found.in_use:
        yield f"left alone, because it is in use: {text}"
    total = f"{len(found.waste)} things, {sum(one.size for one in found.waste) / 1e6:.2f} MB"
    if not found.waste:
        yield "There is nothing to remove."
    elif removed:
        yield f"Removed {total}."
    else:
        yield f"{total}, can go: nothing was removed yet, python -m fedbench gc --yes does it."


def _handled(found: Iterable[Waste], remove: bool) -> list[Waste]:
    waste = list(found)
    if remove:
        for one in waste:
            _remove(one.path)
    return waste


def _planned() -> dict[str, RunConfig]:
    """The runs of all profiles that are shipped, by id."""
    return {run.id: run for name in profile_names() for run in profiles.load(name).runs}


def _of_run(
    folder: Path, planned: Mapping[str, RunConfig], days: float, stale: bool
) -> list[Waste]:
    """What may go of a run's folder."""
    if not (folder / MANIFEST).exists():
        config = planned.get(folder.name)
        if config is None and _age(folder) > days * _DAY and not _ledgers(folder):
            why = f"no result, untouched for {days:g} days, and no profile plans it"
            return [_waste(folder, why)]
        return _with_temporaries(_of_work(folder, config), folder)
    try:
        run = store.load(folder.name)
    except FedbenchError:
        return []  # a damaged result is for its owner to look at
    reason = moved(run)
    if stale and reason and folder.name not in planned and not _ledgers(folder):
        return [_waste(folder, f"a stale result, and no profile plans it: {reason}")]
    over = [folder / name for name in ("work", "error.txt") if (folder / name).exists()]
    found = [_waste(path, "its run is finished") for path in over if not _ledgers(path)]
    return _with_temporaries(_of_work(folder, run.config) if reason else found, folder)


def _of_work(folder: Path, config: RunConfig | None) -> list[Waste]:
    """Checkpoints that a run would not go on from today."""
    made = sorted((folder / "work").glob("*/"))
    try:
        if not made or config is None or not is_here(config):
            return []
        today = work_key(config)
    except FedbenchError:  # what it would be made of cannot be read just now
        return []
    others = [other for other in made if other.name != today and not _ledgers(other)]
    return [_waste(other, "made by other code, data or backbone") for other in others]


def _with_temporaries(found: list[Waste], folder: Path) -> list[Waste]:
    """The same, and what was being written in the rest of ``folder``, where nobody works."""
    going = {one.path for one in found}
    left = [path for path in _temporaries(folder) if not going & {*path.parents}]
    return [*found, *(_waste(path, _KILLED) for path in left)]


def _of_notebooks(folder: Path, days: float) -> Iterator[Waste]:
    """What may go of a profile's executed notebooks."""
    for path in sorted(folder.glob("*.running.ipynb")):
        yield _waste(path, _KILLED)
    for path in sorted(folder.glob("*.failed.ipynb")):
        if _age(path) > days * _DAY:
            yield _waste(path, f"a failure, {days:g} days old")


def _elsewhere(days: float) -> Iterator[Waste]:
    """What may go where nothing is locked."""
    for folder in sorted(home().glob("*/")):
        for path in _temporaries(folder) if folder.name != "runs" else []:
            yield _waste(path, _KILLED)
    yield from _of_cache(home() / "offload", days)


def _of_cache(cache: Path, days: float) -> Iterator[Waste]:
    if cache.exists() and _age(cache) > days * _DAY:
        yield _waste(cache, f"a cache, untouched for {days:g} days")


def _temporaries(folder: Path) -> list[Path]:
    return sorted(left_behind(_below(folder)))


def _ledgers(folder: Path) -> bool:
    return any(path.name == LEDGER for path in _below(folder))


def _files(path: Path) -> list[Path]:
    inside = _below(path) if path.is_dir() and not path.is_symlink() else [path]
    return [one for one in inside if one.is_file() and one.name not in _LOCKS]


def _below(folder: Path) -> Iterator[Path]:
    """All that lies in a folder, in which others may write and remove meanwhile."""
    for root, folders, files in os.walk(folder):
        yield from (Path(root) / name for name in (*folders, *files))


def _age(path: Path) -> float:
    """Seconds since anything of it was written; a lock is written by whoever looks."""
    times = []
    for one in _files(path) or [path]:
        with suppress(FileNotFoundError):
            times.append(one.stat().st_mtime)
    return time.time() - max(times, default=time.time())


def _waste(path: Path, why: str) -> Waste:
    sizes = []
    for one in _files(path):
        with suppress(FileNotFoundError):
            sizes.append(one.lstat().st_size)
    return Waste(path, why, sum(sizes))


def _remove(path: Path) -> None:
    """Remove a file or a folder; a run's own lock, held meanwhile, goes last."""
    try:
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
            return
        # Without its manifest a run does not count, should this be interrupted.
        (path / MANIFEST).unlink(missing_ok=True)
        for inside in path.iterdir():
            if inside.name not in _LOCKS:
                shutil.rmtree(inside) if inside.is_dir() else inside.unlink(missing_ok=True)
        for name in _LOCKS:
            (path / name).unlink(missing_ok=True)
        with suppress(OSError):  # somebody has begun anew in it
            path.rmdir()
    except OSError as error:
        raise refused(path, error) from None
