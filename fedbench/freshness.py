"""Whether a stored run still is what today's code, data and backbone would give."""

from __future__ import annotations

from pathlib import Path

from fedbench.errors import FedbenchError
from fedbench.models.backbones import BUILT_IN, digest
from fedbench.provenance import fingerprint
from fedbench.store import Run
from fedbench.tasks import is_local, load_task

#: The module whose imports are the code that results depend on.
ROOT = "fedbench.running"


def moved(run: Run) -> str:
    """Why ``run`` is stale, as a clause; empty if nothing it depends on has moved.

    Only what lies on this machine is compared: a run that came with the repository is not checked
    against data that its reader does not have, and nothing is fetched to find out.
    """
    then = run.provenance
    reasons = []
    if then["code"] != fingerprint(ROOT):
        reasons.append(f"the code has moved since commit {then['commit'][:10]}")
    if _data(run.config.task, then["data"]) != then["data"]:
        reasons.append(f"the data of {run.config.task} have changed")
    if _backbone(run.config.backbone, then["backbone"]) != then["backbone"]:
        reasons.append(f"the backbone {run.config.backbone} has changed")
    return " and ".join(reasons)


def _data(task: str, otherwise: str) -> str:
    try:
        return load_task(task).digest if is_local(task) else otherwise
    except FedbenchError:
        return otherwise


def _backbone(name: str, otherwise: str) -> str:
    here = name in BUILT_IN or Path(name).is_dir()
    try:
        return digest(name) if here else otherwise
    except FedbenchError:
        return otherwise
