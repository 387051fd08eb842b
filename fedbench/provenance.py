"""Where a result came from: code, data, versions, machine."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from fedbench.paths import CHECKOUT, PACKAGE
from fedbench.redaction import without_secrets

#: Libraries whose version can change a number.
LIBRARIES = (
    "torch", "transformers", "tokenizers", "peft", "bitsandbytes", "accelerate", "datasets",
    "safetensors", "numpy", "scipy", "pandas", "pyarrow",
)  # fmt: skip

#: Modules that keep, name and explain results but have no part in them.
_BESIDE = frozenset(
    f"fedbench.{name}"
    for name in (
        "store",
        "files",
        "durable",
        "manifests",
        "locks",
        "paths",
        "errors",
        "provenance",
        "freshness",
        "resolving",
        "phases",
        "limits",
        "redaction",
    )
) | {"fedbench"}

#: Packages that only list what can be chosen: a run depends on what it chose, not on the rest.
_REGISTRIES = frozenset(
    f"fedbench.{name}" for name in ("attacks", "faults", "rules", "models.methods", "wire.codecs")
)


def provenance(code: str) -> dict[str, Any]:
    """Commit, the given fingerprint of code, versions, machine and command, as plain values."""
    return {
        "commit": git("rev-parse", "HEAD") or "unknown",
        "dirty": bool(git("status", "--porcelain", "--", "fedbench")),
        "code": code,
        "versions": {name: _version(name) for name in LIBRARIES} | {"python": _python()},
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {_processor()}",
        "command": without_secrets(" ".join(["python -m fedbench", *sys.argv[1:]])),
    }


@lru_cache
def fingerprint(*roots: str) -> str:
    """Hash of the code that a result depends on: modules and all of ours that they import.

    Comments, docstrings and layout do not count; the rest of the package does not either, and
    what a registry lists counts where it is named as a root.
    """
    modules = sorted(set().union(*map(_closure, roots)))
    parts = [
        f"{name}\n{_read(path).meaning}" for name in modules for path in [_source(name)] if path
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _closure(root: str) -> set[str]:
    """``root`` and every module of the package that it imports, directly or not."""
    found: set[str] = set()
    waiting = [root]
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if name in found or name in _BESIDE | _REGISTRIES or path is None:
            continue
        found.add(name)
        waiting += _read(path).imports
    return found


def _source(module: str) -> Path | None:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.exists()), None)


class _Code(NamedTuple):
    """What a module says, comments, docstrings and layout aside, and what of ours it imports."""

    meaning: str
    imports: tuple[str, ...]


def _read(path: Path) -> _Code:
    return _understood(path.read_text(encoding="utf-8"))


@lru_cache(maxsize=256)
def _understood(source: str) -> _Code:
    imports: list[str] = []
    shape = _shape(ast.parse(source), imports)
    return _Code(repr(shape), tuple(imports))


def _shape(node: Any, imports: list[str]) -> Any:
    """A syntax tree as plain lists, without the empty fields in which Python versions differ.

    What it imports of the package is added to ``imports``.
    """
    if isinstance(node, list):
        return [_shape(part, imports) for part in node]
    if not isinstance(node, ast.AST):
        return node
    if isinstance(node, ast.ImportFrom | ast.Import):
        imports += _imported(node)
    fields = [(name, _field(name, value, imports)) for name, value in ast.iter_fields(node)]
    return [type(node).__name__, *(pair for pair in fields if pair[1] not in (None, []))]


def _field(name: str, value: Any, imports: list[str]) -> Any:
    """The shape of a field; the docstring that a body begins with says nothing."""
    if name == "body" and isinstance(value, list) and value and _is_text(value[0]):
        value = [ast.Pass(), *value[1:]]
    return _shape(value, imports)


def _imported(node: ast.ImportFrom | ast.Import) -> Iterable[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.startswith("fedbench"))
    elif (node.module or "").startswith("fedbench"):
        yield str(node.module)
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def git(*arguments: str) -> str:
    """What git says in the checkout, stripped; empty where there is no checkout or git fails."""
    if not (CHECKOUT / ".git").exists():  # installed: a repository around it is not ours
        return ""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _python() -> str:
    return platform.python_version()


_REGISTERS = ("avx512f", "avx2")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    told = {key.strip(): value.strip() for key, _, value in (each.partition(":") for each in lines)}
    # The widest registers decide in which order sums are added up, and so the last bits.
    wide = next((name for name in _REGISTERS if name in told.get("flags", "").split()), "")
    return ", ".join(filter(None, [told.get("model name", "unknown processor"), wide]))
