"""Finding and reading the YAML file that describes a task."""

from __future__ import annotations

import difflib
from os.path import isfile
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from fedbench.errors import FedbenchError, shown
from fedbench.files import read_yaml
from fedbench.problems import examined, listed
from fedbench.tasks.defective import apart
from fedbench.tasks.spec import TaskSpec
from fedbench.tasks.task import Scoring

SPECS = Path(__file__).resolve().parent / "specs"
_ENDINGS = (".yml", ".yaml")


def shipped_specs() -> list[TaskSpec]:
    """The descriptions that come with fedbench, by name."""
    return [read_spec(path.stem)[0] for path in sorted(SPECS.glob("*.yml"))]


def read_spec(name_or_path: str) -> tuple[TaskSpec, Path | None]:
    """The description of a task, and its folder if it was given as a path.

    ``name:letter`` or ``name:text`` asks a multiple-choice task with another scoring; a defect in
    front of the name changes nothing in its description.

    Raises:
        FedbenchError: no such task, or a file that does not describe one.
    """
    name, scoring = _parts(apart(name_or_path)[1])
    path = _spec_path(name)
    values = read_yaml(path)
    if scoring:
        values["scoring"] = scoring
    try:
        spec = TaskSpec.model_validate(values)
    except ValidationError:
        told = listed(examined(values, TaskSpec)[1])
        raise FedbenchError(f"{path} does not describe a task: {told}.") from None
    return spec, None if path.parent == SPECS else path.resolve().parent


def located(name_or_path: str) -> str:
    """The same task by a name that holds in every folder: a path becomes absolute."""
    defect, task = apart(name_or_path)
    name, scoring = _parts(task)
    if not name.endswith(_ENDINGS):
        return name_or_path
    return ":".join(filter(None, [defect, str(Path(name).resolve()), scoring]))


def check_name(name_or_path: str) -> None:
    """Make sure that a task is described, whether or not its data are here.

    Raises:
        FedbenchError: no such task, or a file that does not describe one.
    """
    read_spec(name_or_path)


def _parts(name_or_path: str) -> tuple[str, str]:
    """Name or path, and the scoring asked for behind a colon, if there is one."""
    name, _, scoring = name_or_path.rpartition(":")
    return (name, scoring) if scoring in get_args(Scoring) else (name_or_path, "")


def _spec_path(name: str) -> Path:
    if name.endswith(_ENDINGS):
        if not isfile(name):
            raise FedbenchError(f"The task file {name[:1000]} does not exist: check the path.")
        return Path(name)
    path = SPECS / f"{name}.yml"
    if "/" in name or not isfile(path):
        known = sorted(entry.stem for entry in SPECS.glob("*.yml"))
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise FedbenchError(
            f"There is no task {shown(name)}{hint}: use one of {', '.join(known)}, or the path of "
            "a YAML file."
        )
    return path
