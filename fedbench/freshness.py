"""Whether a stored run still is what today's code, data and backbone would give."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fedbench import store
from fedbench.attacks import parts_of
from fedbench.config import RunConfig
from fedbench.errors import FedbenchError, Replaceable
from fedbench.faults import sources
from fedbench.hashing import sha256_json, short
from fedbench.models.backbones import BUILT_IN, digest
from fedbench.models.methods import METHODS
from fedbench.provenance import fingerprint
from fedbench.rules import rule_of
from fedbench.store import Run
from fedbench.tasks import is_local, load_task
from fedbench.wire.codecs import codec_of

#: The module whose imports are the code that every result depends on.
ROOT = "fedbench.running"


def code_of(config: RunConfig) -> str:
    """Fingerprint of the code that a run's result depends on: the choices it made, no others."""
    stages = [*codec_of(config.codec).stages, *codec_of(config.codec_down).stages]
    chosen = (rule_of(config.rule), METHODS[config.method], *stages, *parts_of(config.attack))
    functions = (part for choice in chosen for part in vars(choice).values() if callable(part))
    modules = {_module(function) for function in functions} | sources(config.faults)
    return fingerprint(ROOT, *sorted(modules))


def _module(function: Any) -> str:
    """Where a function comes from, or the one that was given some of its arguments."""
    return str(getattr(function, "func", function).__module__)


def code_of_all(configs: Iterable[RunConfig]) -> str:
    """Fingerprint of the code that several runs depend on."""
    return short(sha256_json(sorted({code_of(config) for config in configs})))


def stale(config: RunConfig) -> str | None:
    """None if a run is there and counts; else why not, as a clause, empty if it was never done.

    Raises:
        Damaged: the repository keeps it, and its file is not what was recorded.
    """
    if not store.exists(config.id):
        return ""
    try:
        found = store.load(config.id)
    except Replaceable:
        return store.damage(config.id)
    return None if found.recorded else moved(found) or None


def work_key(config: RunConfig) -> str:
    """Name of what code, data and backbone of today make of a run: its checkpoints are under it."""
    inputs = [code_of(config), load_task(config.task).digest, digest(config.backbone)]
    return short(sha256_json(inputs))


def is_here(config: RunConfig) -> bool:
    """Whether the data and the backbone of a run lie on this machine."""
    return is_local(config.task) and _is_here(config.backbone)


def moved(run: Run) -> str:
    """Why ``run`` is stale, as a clause; empty if nothing it depends on has moved.

    Only what lies on this machine is compared: a run that came with the repository is not checked
    against data that its reader does not have, and nothing is fetched to find out.
    """
    then = run.provenance
    reasons = []
    if then["code"] != code_of(run.config):
        reasons.append(f"the code has moved since commit {then['commit'][:10]}")
    if _data(run.config.task, then["data"]) != then["data"]:
        reasons.append(f"the data of {run.config.task} have changed")
    if _backbone(run.config.backbone, then["backbone"]) != then["backbone"]:
        reasons.append(f"the backbone {run.config.backbone} has changed")
    return " and ".join(reasons)


def _data(task: str, otherwise: str) -> str:
    try:
        here = is_local(task)
    except FedbenchError:  # its description is gone
        return otherwise
    try:
        return load_task(task).digest if here else otherwise
    except FedbenchError:
        return "they cannot be read"


def _backbone(name: str, otherwise: str) -> str:
    try:
        return digest(name) if _is_here(name) else otherwise
    except FedbenchError:
        return otherwise


def _is_here(backbone: str) -> bool:
    return backbone in BUILT_IN or Path(backbone).is_dir()
