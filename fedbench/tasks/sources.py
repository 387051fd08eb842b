"""Where the rows of a task come from: files on disk, the Hugging Face hub, or a generator."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.hashing import sha256_file, sha256_json
from fedbench.paths import CHECKOUT, within
from fedbench.tasks import hub
from fedbench.tasks.lookalike import GENERATORS
from fedbench.tasks.parsers import AGAIN, parse
from fedbench.tasks.spec import LayoutSpec, Role, SourceSpec, TaskSpec


@dataclass(frozen=True)
class Row:
    """One row of a dataset, and where it stands, for messages."""

    role: Role
    where: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """The place that was chosen; its content is part of its identity, so it can be cached."""

    kind: str  #: a name in ``READERS``
    layout: int = 0
    files: tuple[tuple[Role, str, str], ...] = ()  #: role, path, sha256


def find_source(spec: TaskSpec, folder: Path | None, data_dirs: Sequence[Path]) -> Source:
    """Choose the first layout whose files exist, then the hub.

    Raises:
        FedbenchError: the dataset is nowhere; names the places and what to do.
    """
    if spec.generator:
        return Source("generator")
    places = search_order(spec.name, folder, data_dirs)
    for number, layout in enumerate(spec.layouts):
        files = _find(layout, places)
        if files is not None:
            return Source("files", number, files)
    if spec.hub and spec.hub.revision:
        return Source("hub")
    raise FedbenchError(_nowhere(spec, places))


def search_order(name: str, folder: Path | None, data_dirs: Sequence[Path]) -> tuple[Path, ...]:
    """Folders in which the files of the dataset ``name`` are looked for, first one first."""
    roots = [*data_dirs]
    if os.environ.get("FEDBENCH_DATA"):
        roots.append(Path(os.environ["FEDBENCH_DATA"]))
    roots += [Path("data/raw"), CHECKOUT / "data" / "raw"]
    own = (folder,) if folder else ()
    return tuple(dict.fromkeys((*own, *((root / name).resolve() for root in roots))))


def read_source(spec: TaskSpec, source: Source) -> tuple[SourceSpec, list[Row], dict[str, str]]:
    """What the source says of itself, its rows, and the hash of each of its files.

    Raises:
        FedbenchError: damaged file, unreachable hub.
    """
    said, rows, hashes = READERS[source.kind](spec, source)
    return said, [_renamed(row, said.rename) for row in rows], hashes


def _read_files(spec: TaskSpec, source: Source) -> tuple[SourceSpec, list[Row], dict[str, str]]:
    layout = spec.layouts[source.layout]
    rows: list[Row] = []
    for role, name, _ in source.files:
        path = Path(name)
        found = [Row(role, *row) for row in parse(path, layout.format, layout.encoding)]
        if len(found) < layout.rows.get(path.name, 0):
            raise FedbenchError(
                f"{path} has {len(found):,} rows, its release {layout.rows[path.name]:,}: {AGAIN}, "
                "or describe a part of the dataset in a task file of your own."
            )
        rows += found
    return layout, rows, {Path(path).name: digest for _, path, digest in source.files}


def _read_hub(spec: TaskSpec, source: Source) -> tuple[SourceSpec, list[Row], dict[str, str]]:
    assert spec.hub is not None
    found = hub.download(spec.hub, spec.name)
    rows = [Row(role, where, values) for role, where, values in found]
    content = sha256_json([[row.role, _plain(row.values)] for row in rows])
    return spec.hub, rows, {f"hub:{spec.hub.id}@{spec.hub.revision}": content}


def _read_generator(spec: TaskSpec, source: Source) -> tuple[SourceSpec, list[Row], dict[str, str]]:
    assert spec.generator is not None
    name, knobs = spec.generator.name, dict(spec.generator.knobs)
    if name not in GENERATORS:
        raise FedbenchError(
            f"task {spec.name}: there is no generator {name!r} (use one of "
            f"{', '.join(GENERATORS)})."
        )
    try:
        generated = list(GENERATORS[name].rows(knobs))
    except (TypeError, ValueError) as error:
        raise FedbenchError(f"task {spec.name}: the knobs of {name} do not fit: {error}.") from None
    rows = [
        Row(split, f"{name}, row {number}", values)
        for number, (split, values) in enumerate(generated, start=1)
    ]
    return spec.generator, rows, {f"generator:{name}": sha256_json(knobs)}


Reader = Callable[[TaskSpec, Source], tuple[SourceSpec, list[Row], dict[str, str]]]
READERS: Mapping[str, Reader] = {
    "files": _read_files,
    "hub": _read_hub,
    "generator": _read_generator,
}


def _find(layout: LayoutSpec, places: Sequence[Path]) -> tuple[tuple[Role, str, str], ...] | None:
    for place in places:
        if all(os.path.isfile(place / name) for _, name in _names(layout)):
            paths = [(role, within(place, name)) for role, name in _names(layout)]
            return tuple((role, str(path), sha256_file(path)) for role, path in paths)
    return None


def _names(layout: LayoutSpec) -> Iterator[tuple[Role, str]]:
    for role, names in layout.files.items():
        for name in names:
            yield role, name


def _nowhere(spec: TaskSpec, places: Sequence[Path]) -> str:
    wanted = " or ".join(" + ".join(name for _, name in _names(layout)) for layout in spec.layouts)
    unpinned = (
        f"; the hub's {spec.hub.id} is not pinned, so nothing is downloaded unless a copy of the "
        "task's file names its revision (a full commit hash)"
        if spec.hub
        else ""
    )
    return (
        f"The dataset {spec.name} was not found: put {wanted[:500]} into one of "
        f"{', '.join(map(str, places))} (data/README.md says where to get it), or set "
        f"FEDBENCH_DATA to the folder that holds {spec.name}/{unpinned}."
    )


def _renamed(row: Row, rename: Mapping[str, str]) -> Row:
    if not rename:
        return row
    values = {rename.get(column, column): value for column, value in row.values.items()}
    return Row(row.role, row.where, values)


def _plain(values: Mapping[str, Any]) -> dict[str, str]:
    return {column: str(value) for column, value in values.items()}
