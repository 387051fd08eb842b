"""The data: datasets, backbones, what the repository keeps."""

from __future__ import annotations

import os
from pathlib import Path

from fedbench import store
from fedbench.doctor.finding import FAIL, NOTE, OK, Finding
from fedbench.errors import FedbenchError
from fedbench.manifests import MANIFEST, harmed
from fedbench.models.backbones import BUILT_IN
from fedbench.paths import home, shipped
from fedbench.tasks.load import is_local

DATASETS = ("medqa", "medmcqa", "fpb", "fiqa_sa")


def datasets() -> Finding:
    """Which of the four real ones lie here; profiles on look-alikes do without."""
    given = os.environ.get("FEDBENCH_DATA")
    if given and not Path(given).is_dir():
        return Finding(
            "datasets", FAIL, f"FEDBENCH_DATA is {given}, which is no folder: correct or unset it."
        )
    here = [name for name in DATASETS if _lies_here(name)]
    where = f"FEDBENCH_DATA = {given}" if given else "FEDBENCH_DATA is not set"
    if len(here) == len(DATASETS):
        return Finding("datasets", OK, f"all {len(here)} found; {where}")
    missing = ", ".join(name for name in DATASETS if name not in here)
    return Finding(
        "datasets", NOTE,
        f"{missing} not found, which real-data profiles need ({where}): data/README.md says where "
        "to get them.",
    )  # fmt: skip


def _lies_here(name: str) -> bool:
    try:
        return is_local(name)
    except FedbenchError:
        return False


def backbones() -> Finding:
    """The built-in ones are what was shipped."""
    for name in BUILT_IN:
        folder = shipped(f"backbones/{name}")
        for path in harmed(folder):
            remedy = f"git checkout -- {path}, or install fedbench again."
            return Finding("backbones", FAIL, f"{path} is not the file that was written: {remedy}")
    return Finding("backbones", OK, f"{', '.join(BUILT_IN)} are as shipped")


def recorded() -> Finding:
    """The runs that the repository keeps are what was recorded."""
    folders = store.recorded_folders()
    for folder in folders:
        for path in harmed(folder):
            remedy = f"git checkout -- {path}."
            return Finding("recorded runs", FAIL, f"{path} is not what was written: {remedy}")
    named = ", ".join(folder.name for folder in folders)
    return Finding("recorded runs", OK, f"of {named}, as written" if named else "none here")


def own_runs() -> Finding:
    """One's own finished runs are what was written."""
    damaged, whole = [], 0
    for manifest in sorted(home().glob(f"runs/*/{MANIFEST}")):
        if harm := store.damage(manifest.parent.name):
            damaged.append(harm)
        else:
            whole += 1
    if damaged:
        return Finding(
            "own runs", NOTE,
            f"{len(damaged)} of {len(damaged) + whole} damaged ({damaged[0]}): what needs them, "
            "such as make figures, does them again.",
        )  # fmt: skip
    return Finding("own runs", OK, f"{whole} finished, as written")


CHECKS = (datasets, backbones, recorded, own_runs)
