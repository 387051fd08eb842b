"""Finished runs on disk: written once, checked by hash, read without torch.

A run is a folder named by its id. ``manifest.json`` is written last and holds the SHA-256 of
every file of the result, which is compared whenever one is read: a folder without it is unfinished
work that its run resumes. Runs that the repository keeps (scores and configuration, never text of a
dataset) are two files per profile under ``data/recorded/``: they are read like any other run.
"""

from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedbench.columns import NAMES, Columns, ranges, read_columns
from fedbench.config import RunConfig, parse_config
from fedbench.durable import remove
from fedbench.errors import Damaged, FedbenchError, Replaceable
from fedbench.files import on_disk, read_json, write_bytes, write_json
from fedbench.limits import from_json
from fedbench.manifests import MANIFEST, files_of, harmed, whole, write_manifest
from fedbench.paths import home, shipped

if TYPE_CHECKING:
    import pandas as pd

SHARED = "global"  #: name of the adapter that all sites share
RECORD = "run.json"
ITEMS = "items.parquet"
RUNS = "runs.jsonl"
_TENSORS = ("adapters", "deltas")  #: folders of a run
#: what a round's record counts in bytes, of all sites: ``bytes_down`` and so on
BYTES = ("down", "up", "validation")
MASKED = ("keys", "unmask")  #: and what it counts beside these under secure aggregation
_LOG = logging.getLogger("fedbench")
KEPT = (
    "a base run trains none, and the repository keeps none of the others "
    "(python -m fedbench run --again makes them)."
)


@dataclass(frozen=True)
class Run:
    """A finished run: what was asked, what came out, and how it was made."""

    config: RunConfig
    metrics: Mapping[str, Any]
    rounds: Sequence[Mapping[str, Any]]  #: one record per round and federation
    sites: Sequence[Mapping[str, Any]]  #: size and topics of every site
    provenance: Mapping[str, Any]
    source: Path = field(repr=False)  #: the run's folder, or the profile's recorded folder
    recorded: bool = False

    @property
    def id(self) -> str:
        """Hash of the configuration."""
        return self.config.id

    @property
    def items(self) -> pd.DataFrame:
        """One row per test item and adapter.

        Columns: ``adapter`` (``global`` or a site), ``item``, ``cluster``, ``site`` (holder of
        the item), ``choices`` (how many), ``gold``, ``prediction``, ``blind``, ``majority``
        (indices of choices), ``generated`` (index, -1 for invalid output, null if not asked)
        and ``scores`` (log-likelihood per choice).
        """
        return _recorded_items(self.source, self.id) if self.recorded else _read_items(self.source)

    @property
    def counted(self) -> Columns:
        """The items without their scores: quick to read and to count by."""
        if self.recorded:
            items, rows = _all_counted(self.source)
            return items.of(rows[self.id])
        return read_columns(self.source / ITEMS, _whole(self.source, ITEMS))

    @property
    def adapters(self) -> dict[str, Path]:
        """Trained tensors by name: ``global``, or one per site where sites trained alone."""
        return {
            path.stem: path for path in sorted((self.source / "adapters").glob("*.safetensors"))
        }

    @property
    def deltas(self) -> dict[str, Path]:
        """Factors of what was added to the backbone beside an adapter, by the adapter's name."""
        return {path.stem: path for path in sorted((self.source / "deltas").glob("*.safetensors"))}

    @property
    def adapter(self) -> Path:
        """The safetensors file of the shared adapter.

        Raises:
            FedbenchError: this run has none (``base``), several (``local``), or they were not kept.
        """
        if SHARED not in self.adapters:
            has = ", ".join(self.adapters)
            remedy = f"its adapters are {has}, in .adapters." if has else KEPT
            raise FedbenchError(f"Run {self.id} has no shared adapter: {remedy}")
        return self.adapters[SHARED]


def folder(run_id: str) -> Path:
    """Where the run with this id is, or will be."""
    return home() / "runs" / run_id


def work(run_id: str) -> Path:
    """Folder of what the run with this id goes on from while it is under way."""
    return folder(run_id) / "work"


def untidy(run_id: str) -> bool:
    """Whether a run of one's own was killed when all was done but the removal of its work."""
    return (folder(run_id) / MANIFEST).exists() and work(run_id).exists()


def lock(run_id: str) -> Path:
    """The file whose lock is held by whoever does the run with this id, or removes it."""
    return folder(run_id) / "lock"


def save(
    directory: Path,
    config: RunConfig,
    metrics: Mapping[str, Any],
    rounds: Sequence[Mapping[str, Any]],
    sites: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
    items: pd.DataFrame,
) -> Run:
    """Write a finished run; the manifest, last, makes it count."""
    buffer = io.BytesIO()
    items.to_parquet(buffer, index=False, compression="zstd")
    write_bytes(directory / ITEMS, buffer.getvalue())
    finished = Run(config, metrics, rounds, sites, provenance, directory)
    write_json(directory / RECORD, _as_record(finished))
    write_manifest(directory, _results(directory))
    return finished


def discard(run_id: str) -> None:
    """Forget a finished run of one's own, for example because its code has moved since."""
    with on_disk(folder(run_id)):
        remove(folder(run_id) / MANIFEST)  # before what it speaks of
        for kind in _TENSORS:
            if (folder(run_id) / kind).exists():
                shutil.rmtree(folder(run_id) / kind)


def load(run_id: str) -> Run:
    """The finished run with this id, own or recorded.

    Raises:
        Replaceable: a file of it is not what was written.
        FedbenchError: there is none, or one of the repository's files is not what was written.
    """
    directory = folder(run_id)
    if _is_own(run_id):
        if harm := damage(run_id):
            raise Replaceable(
                f"{harm}: python -m fedbench grid, or the run itself, does it again; or remove the "
                f"folder {directory}."
            )
        return _run(read_json(directory / RECORD), directory)
    for recorded in recorded_folders():
        if run_id in _recorded_runs(recorded):
            return _run(_recorded_runs(recorded)[run_id], recorded, recorded=True)
    raise FedbenchError(
        f"There is no finished run {run_id}: list them with python -m fedbench list."
    )


def damage(run_id: str) -> str:
    """What is wrong with the files of a finished run of one's own, as a clause; empty if nothing.

    Tensors that the manifest does not list are no part of the result that was written.
    """
    directory = folder(run_id)
    for path in harmed(directory):
        return f"{path} is not the file that was written"
    listed = files_of(directory)
    for name in _results(directory):
        if name.partition("/")[0] in _TENSORS and name not in listed:
            return f"{directory / name} is not in the manifest of its run"
    return ""


def exists(run_id: str) -> bool:
    """Whether a finished run with this id can be loaded."""
    if _is_own(run_id):
        return True
    return any(run_id in _recorded_runs(recorded) for recorded in recorded_folders())


def _is_own(run_id: str) -> bool:
    """Whether it is a run of this home; what may be typed by hand leads to no other folder."""
    return Path(run_id).name == run_id and (folder(run_id) / MANIFEST).exists()


def finished() -> Iterator[Run]:
    """All finished runs, own ones first, in the order of their ids; damaged ones with a warning."""
    for run_id in _ids():
        try:
            yield load(run_id)
        except Replaceable as error:
            _LOG.warning("Run %s is left out: %s", run_id, error)


def named(start: str) -> Run:
    """The finished run whose id begins with ``start``, as no other does.

    Raises:
        FedbenchError: there is none or more than one, or a file of it is not what was written.
    """
    found = [run_id for run_id in _ids() if run_id.startswith(start)]
    if len(found) > 1:
        raise FedbenchError(f"{len(found)} finished runs begin with {start}: give more of the id.")
    return load(found[0] if found else start)


def _ids() -> list[str]:
    own = {path.parent.name for path in (home() / "runs").glob(f"*/{MANIFEST}")}
    kept = {run_id for recorded in recorded_folders() for run_id in _recorded_runs(recorded)}
    return [*sorted(own), *sorted(kept - own)]


def record(runs: Sequence[Run], directory: Path) -> None:
    """Keep ``runs`` as two files under ``directory``: all but adapters and example ids."""
    import pandas as pd

    lines = [json.dumps(_as_record(run), sort_keys=True) for run in runs]
    items = pd.concat([run.items.assign(run=run.id) for run in runs], ignore_index=True)
    items["scores"] = items["scores"].map(lambda scores: [round(float(s), 4) for s in scores])
    buffer = io.BytesIO()
    items.to_parquet(buffer, index=False, compression="zstd", compression_level=19)
    remove(directory / MANIFEST)  # a killed command leaves nothing recorded, not a half
    write_bytes(directory / ITEMS, buffer.getvalue())
    write_bytes(directory / RUNS, ("\n".join(lines) + "\n").encode())
    write_manifest(directory, (ITEMS, RUNS))


def _as_record(run: Run) -> dict[str, Any]:
    return {
        "config": run.config.model_dump(mode="json"),
        "metrics": dict(run.metrics),
        "rounds": list(run.rounds),
        "sites": list(run.sites),
        "provenance": dict(run.provenance),
    }


def _run(record: Mapping[str, Any], source: Path, recorded: bool = False) -> Run:
    fields = {key: record[key] for key in ("metrics", "rounds", "sites", "provenance")}
    try:
        config = parse_config(record["config"])
    except FedbenchError as error:
        raise FedbenchError(
            f"The run in {source} was made by another version of fedbench: {error} Remove the "
            "folder, and do the run again if it is needed."
        ) from None
    return Run(config=config, source=source, recorded=recorded, **fields)


def _results(directory: Path) -> list[str]:
    """Files that a run ends with, but the manifest; locks and work under way are none."""
    kinds = ("*.json", "*.parquet", *(f"{kind}/*.safetensors" for kind in _TENSORS))
    found = [path for kind in kinds for path in directory.glob(kind) if path.name != MANIFEST]
    return [path.relative_to(directory).as_posix() for path in found]


def _check_recorded(directory: Path) -> None:
    """Make sure that what the repository keeps is what it recorded.

    Raises:
        Damaged: it is not; computing runs again would not bring a record back.
    """
    for path in harmed(directory):
        raise _not_recorded(path)


def _not_recorded(path: Path) -> Damaged:
    return Damaged(
        f"{path} is not the file that was written: restore it with git checkout -- {path}."
    )


def _whole(directory: Path, name: str) -> bytes:
    """The content of a file of a run, compared in the moment it is read.

    Raises:
        Damaged: it is not what was written.
    """
    content = whole(directory, name)
    if content is None:
        raise Damaged(f"{directory / name} is not the file that was written: start again.")
    return content


def _read_items(directory: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(io.BytesIO(_whole(directory, ITEMS)))


def recorded_folders() -> list[Path]:
    """Folders of runs that the repository keeps, one per profile."""
    try:
        return sorted(path.parent for path in shipped("recorded").glob(f"*/{MANIFEST}"))
    except FedbenchError:
        return []


@lru_cache
def _recorded_runs(directory: Path) -> dict[str, dict[str, Any]]:
    _check_recorded(directory)
    lines = _whole(directory, RUNS).decode().splitlines()
    records = [from_json(line) for line in lines]
    return {parse_config(record["config"]).id: record for record in records}


@lru_cache
def _all_recorded_items(directory: Path) -> dict[str, pd.DataFrame]:
    items = _read_items(directory)
    return {str(run_id): part for run_id, part in items.groupby("run")}


def _recorded_items(directory: Path, run_id: str) -> pd.DataFrame:
    return _all_recorded_items(directory)[run_id].drop(columns="run").reset_index(drop=True)


@lru_cache
def _all_counted(directory: Path) -> tuple[Columns, dict[str, slice]]:
    """The items of all recorded runs, and which rows are whose: each run's stand together."""
    items = read_columns(directory / ITEMS, _whole(directory, ITEMS), "run")
    names = {name: items.names[name] for name in NAMES}
    return Columns(names, items.numbers), ranges(items.names["run"])
