"""What an installation without a checkout has."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest

from fedbench.paths import CHECKOUT, PACKAGE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Names of the files in a wheel that is built from this checkout, with no network."""
    pytest.importorskip("hatchling", reason="the build tool is part of fedbench[dev]")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "wheel"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    done = subprocess.run([*pip, *options, str(CHECKOUT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


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
