"""Configuration fields as options of a command: what they mean, and what a line says of them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fedbench.config import PartitionConfig, RunConfig
from fedbench.errors import FedbenchError, shown
from fedbench.files import read_yaml
from fedbench.limits import from_yaml
from fedbench.policy import PolicyConfig
from fedbench.protection import PrivacyConfig, SecureConfig

#: whose fields are options, and what comes before them
_SHOWN: tuple[tuple[type[BaseModel], str], ...] = (
    (RunConfig, ""),
    (PartitionConfig, "partition."),
    (PolicyConfig, "policy."),
    (PrivacyConfig, "privacy."),
    (SecureConfig, "secure."),
)

_LONGEST = 1000  #: characters of a value that is more than text

#: what is off until one of its fields is given
_OFF = {
    "privacy.": "Differential privacy, off unless one of these is given:",
    "secure.": "Secure aggregation, off unless one of these is given, such as --secure.bound 1:",
}


def told() -> str:
    """All fields with their defaults, a line each."""
    lines = ["options, their defaults and what they mean:"]
    for model, prefix in _SHOWN:
        said = meanings(model)
        if prefix in _OFF:
            lines += ["", _OFF[prefix]]
        for name, field in model.model_fields.items():
            if name not in ("partition", "policy", "privacy", "secure"):
                shown = "required" if field.is_required() else field.default
                option = f"--{prefix}{name.replace('_', '-')} ({shown})"
                lines.append(f"  {option:36} {said[name]}")
    return "\n".join([*lines, "", "--config FILE.yml gives several at once; options win over it."])


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """What the ``#:`` comments above or beside the fields of ``model`` say, by field."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in inspect.getsource(model).splitlines():
        code, _, comment = line.partition("#:")
        if field := re.match(r"    (\w+): ", code):
            found[field[1]] = " ".join([*above, comment.strip()]).strip().replace("``", "")
        above = [*above, comment.strip()] if comment and not code.strip() else []
    return found


def fields_from(extra: Sequence[str]) -> dict[str, Any]:
    """Configuration values from ``--field value`` pairs and ``--config FILE``.

    Values are read as YAML, except that 5e-5 is a number here too.

    Raises:
        FedbenchError: an option without a value, or a file that cannot be read.
    """
    given: dict[str, Any] = {}
    values: dict[str, Any] = {}
    words = iter(extra)
    for word in words:
        option, joined, value = word.partition("=")
        text = value if joined else next(words, None)
        if text is None or not option.startswith("--"):
            raise FedbenchError(f"Options are pairs such as --task fpb: {shown(option)} is none.")
        name = option.removeprefix("--").replace("-", "_")
        if name == "config":
            values |= read_yaml(Path(text))
        else:
            given[name] = _value(text)
    for name, value in given.items():
        parent, _, leaf = name.rpartition(".")
        if parent:
            values[parent] = {**_mapping(parent, values.get(parent)), leaf: value}
        else:
            values[leaf] = value
    return values


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if value is None or isinstance(value, dict):
        return value or {}
    raise FedbenchError(f"{name} = {shown(value)} has no parts: give --{name}.FIELD options only.")


def _value(text: str) -> Any:
    if len(text) > _LONGEST:
        return text
    if "e" in text.lower():
        with suppress(ValueError):
            return float(text)
    try:
        return from_yaml(text)
    except ValueError:
        return text
