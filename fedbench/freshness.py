"""Whether a stored run still is what today's code, data and backbone would give."""

from __future__ import annotations

from collections.abc import Callable

from fedbench.errors import FedbenchError
from fedbench.models.backbones import digest
from fedbench.provenance import fingerprint
from fedbench.store import Run
from fedbench.tasks import load_task

#: The module whose imports are the code that results depend on.
ROOT = "fedbench.running"


def moved(run: Run) -> str:
    """Why ``run`` is stale, as a clause; empty if nothing it depends on has moved.

    What cannot be looked at here, such as data that only the run's author has, is not compared.
    """
    then = run.provenance
    reasons = []
    if then["code"] != fingerprint(ROOT):
        reasons.append(f"the code has moved since commit {then['commit'][:10]}")
    if _now(lambda: load_task(run.config.task).digest, then["data"]) != then["data"]:
        reasons.append(f"the data of {run.config.task} have changed")
    if _now(lambda: digest(run.config.backbone), then["backbone"]) != then["backbone"]:
        reasons.append(f"the backbone {run.config.backbone} has changed")
    return " and ".join(reasons)


def _now(look: Callable[[], str], otherwise: str) -> str:
    try:
        return look()
    except FedbenchError:
        return otherwise
