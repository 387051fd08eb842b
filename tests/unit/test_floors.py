"""ARCHITECTURE.md's floors hold: a module imports from floors below, or from its own package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "fedbench"

#: From the top to the ground. Neighbours on one floor do not import one another. ``fedbench`` is
#: the root of the package, which offers what is below it to users and to the floors above.
FLOORS: tuple[frozenset[str], ...] = tuple(
    frozenset(floor.split())
    for floor in """
    __main__ pretraining bench
    cli
    commands
    options telling doctor
    report
    tuning energy collecting
    grid
    profiles
    fedbench
    defects
    deployment
    running exporting auditing conformance leakage
    summary card success
    freshness prepare resolving
    federation rewriting
    personal aggregating
    secure_round
    round_log budgets asking
    replies
    messages headers reduction
    heterogeneity
    engines
    site
    masking receiving
    privacy secure_aggregation
    attacks faults
    rules
    log_file
    snapshots
    wire
    train evaluate
    optimizers
    forward
    models
    partition tokens
    tasks
    store metrics cohorts
    provenance records manifests
    config
    protection policy
    frozen problems locks
    columns files hashing named phases processes seeding streams
    limits paths
    durable errors
    redaction
    """.strip().splitlines()
)
LEVEL = {unit: level for level, floor in enumerate(FLOORS) for unit in floor}


def _units() -> set[str]:
    """Modules and subpackages directly under ``fedbench``, and the root itself."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    return modules | {path.parent.name for path in PACKAGE.glob("*/__init__.py")} | {"fedbench"}


def imported_units(source: str, package: str) -> Iterator[str]:
    """Units of fedbench that a module imports, lazily or not.

    ``package`` is the dotted package that the module lives in, for relative imports.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            module = ".".join([*(parents if node.level else []), *filter(None, [node.module])])
            # Of the root, the names may be modules; of any other module, the module is enough.
            at_root = module == "fedbench"
            names = [f"fedbench.{alias.name}" for alias in node.names] if at_root else [module]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            if top == "fedbench":
                unit = rest.partition(".")[0]
                yield unit if unit in _units() else "fedbench"


def _offences(path: Path) -> list[str]:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    package = ".".join(("fedbench", *parts[:-1]))
    found = set(imported_units(path.read_text(encoding="utf-8"), package))
    own = "fedbench" if parts == ("__init__",) else parts[0]
    return [
        f"{own} imports {unit}, which is not on a floor below"
        for unit in sorted(found - {own})
        if LEVEL.get(unit, -1) <= LEVEL.get(own, len(FLOORS))
    ]


def test_every_module_has_a_floor():
    assert sorted(_units() - LEVEL.keys()) == []


@pytest.mark.parametrize(
    "path",
    sorted(PACKAGE.rglob("*.py")),
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_a_module_imports_only_from_floors_below(path):
    assert _offences(path) == []


@pytest.mark.parametrize(
    ("source", "package", "units"),
    [
        ("import fedbench.config", "fedbench", {"config"}),
        ("from fedbench.tasks.task import Task", "fedbench", {"tasks"}),
        ("from fedbench import tasks, errors", "fedbench", {"tasks", "errors"}),
        ("from fedbench import __version__", "fedbench", {"fedbench"}),
        ("from . import tasks", "fedbench", {"tasks"}),
        ("from ..errors import FedbenchError", "fedbench.tasks", {"errors"}),
        ("from .task import Task", "fedbench.tasks", {"tasks"}),
        ("def late():\n    import fedbench.config", "fedbench", {"config"}),
        ("import numpy.random", "fedbench", set()),
    ],
)
def test_imports_are_found_however_they_are_written(source, package, units):
    assert set(imported_units(source, package)) == units
