"""What an installation without a checkout has."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import pytest

from fedbench.paths import CHECKOUT, PACKAGE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel that is built from this checkout, with no network."""
    pytest.importorskip("hatchling", reason="the build tool is part of fedbench[dev]")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "wheel"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    done = subprocess.run([*pip, *options, str(CHECKOUT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def members(wheel):
    """Names of the files in it."""
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture
def installed(wheel, tmp_path):
    """Runs a command of what the wheel holds, in an empty folder, far from this checkout."""
    place, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(place)

    def run(*arguments):
        here = {**os.environ, "PYTHONPATH": str(place)}
        # Where a package lies that an editable installation of this checkout would bring.
        code = "import fedbench, sys; from fedbench.cli import main; print(fedbench.__file__); "
        command = [sys.executable, "-c", code + "sys.exit(main(sys.argv[1:]))", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=empty, env=here)
        assert done.stdout.startswith(str(place)), done.stderr
        return done

    return run


def test_a_wheel_has_the_code_profiles_task_files_and_pages(members):
    for kind in ("py", "yml", "j2", "css", "typed"):
        names = {path.relative_to(CHECKOUT).as_posix() for path in PACKAGE.rglob(f"*.{kind}")}
        assert names
        assert names - members == set()


def test_a_wheel_has_what_is_asked_for_by_name(members):
    asked = ["claims.yml", "peers.yml", "tuning.json"]
    backbones = sorted((CHECKOUT / "data" / "backbones").glob("*/*"))
    asked += [path.relative_to(CHECKOUT / "data").as_posix() for path in backbones]

    assert {f"fedbench/_data/{name}" for name in asked} - members == set()


@pytest.mark.parametrize("command", ["server", "site", "site-policy", "keys"])
def test_a_site_needs_the_wheel_alone_for_every_command_of_a_federation(installed, command):
    done = installed(command, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout


def test_keys_and_a_policy_are_made_from_the_wheel(installed, tmp_path):
    assert installed("keys", "server", "--host", "127.0.0.1").returncode == 0
    assert installed("keys", "site", "north", "--folder", "north").returncode == 0
    shown = installed("keys", "show", "north/north.pub")
    assert "SHA-256" in shown.stdout
    assert installed("site-policy").returncode == 0
    made = {path.name for path in (tmp_path / "empty").rglob("*") if path.is_file()}
    assert {"ca.pem", "server.pem", "server.key", "north.key", "north.pub", "policy.yml"} <= made


def test_a_site_and_a_server_from_the_wheel_say_in_a_sentence_what_they_lack(installed):
    pytest.importorskip("flwr")
    for arguments in (
        ("server", "--config", "run.yml"),
        ("site", "--data", "rows.csv", "--task", "task.yml", "--server", "host:1"),
    ):
        done = installed(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("fedbench: ")
        assert done.stderr.count("\n") == 1
