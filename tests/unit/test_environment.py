"""The lock file, environment.yml and pyproject.toml say the same about every version."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.11.7", "3.12.1", "3.13.0")


def _lock_lines() -> list[str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _locked(python: str = "3.11.7") -> dict[str, Version]:
    """Version of every package that the lock names for Linux and this Python."""
    environment = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
    }
    requirements = [Requirement(line) for line in _lock_lines()]
    return {
        canonicalize_name(each.name): Version(str(each.specifier).removeprefix("=="))
        for each in requirements
        if each.marker is None or each.marker.evaluate(environment)
    }


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _required(*extras: str) -> list[Requirement]:
    project = _project()
    groups = [project["dependencies"], *(project["optional-dependencies"][name] for name in extras)]
    return [Requirement(line) for group in groups for line in group]


def _conda() -> tuple[list[str], list[str]]:
    """The conda entries and the pip entries of environment.yml."""
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = (entry["pip"] for entry in entries if isinstance(entry, dict))
    return [entry for entry in entries if isinstance(entry, str)], pip


def test_every_lock_line_is_one_exact_public_version():
    line_of_the_index = re.compile(r"^[a-z0-9.-]+==[0-9][0-9a-z.]*( ; [^@]+)?$")
    assert [line for line in _lock_lines() if not line_of_the_index.match(line)] == []


def test_the_lock_names_the_plain_torch_and_no_pip():
    locked = _locked()
    assert str(locked["torch"]) == "2.13.0"
    assert "pip" not in locked


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_satisfies_every_direct_requirement(python):
    locked = _locked(python)
    unmet = [
        str(each)
        for each in _required("dev", "flower", "bench")
        if not each.specifier.contains(locked.get(canonicalize_name(each.name), Version("0")))
    ]
    assert unmet == []


def test_the_lock_has_the_versions_that_flower_insists_on():
    locked = _locked()
    flower = {"flwr": "1.41.0", "ray": "2.55.1", "rich": "14.3.4", "typer": "0.20.1"}
    flower |= {"packaging": "25.0", "protobuf": "6.33.6"}
    assert {name: str(locked[name]) for name in flower} == flower


def test_environment_yml_pins_what_the_lock_pins():
    _, pip = _conda()
    pins = [Requirement(entry) for entry in pip if not entry.startswith("-")]
    locked = _locked()
    for each in pins:
        assert str(each.specifier) == f"=={locked[canonicalize_name(each.name)]}", each.name


def test_environment_yml_lists_every_direct_requirement_and_no_other():
    _, pip = _conda()
    listed = {canonicalize_name(Requirement(e).name) for e in pip if not e.startswith("-")}
    assert listed == {canonicalize_name(each.name) for each in _required("dev")}


def test_environment_yml_is_constrained_by_the_lock():
    conda, pip = _conda()
    assert "-c requirements.lock" in pip
    assert pip[-1] == "-e ."
    assert "python=3.11" in conda


def test_the_supported_pythons_are_3_11_to_3_13():
    supported = Requirement(f"python{_project()['requires-python']}").specifier
    tried = {minor: f"3.{minor}.0" in supported for minor in range(10, 15)}
    assert tried == {10: False, 11: True, 12: True, 13: True, 14: False}


def test_no_file_of_the_environment_names_a_machine_or_a_mirror():
    suspicious = re.compile(r"file://|/opt/|/home/|/root/|/work/|/Users/|--find-links")
    for name in ("requirements.lock", "environment.yml", "pyproject.toml", "Makefile", ".ci/run"):
        assert suspicious.findall((ROOT / name).read_text()) == [], name
