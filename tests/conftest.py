"""What holds for every test: nothing is written into the checkout, nothing is fetched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Before any test module imports torch or a Hugging Face library: they read these once.
os.environ.update(
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    MPLBACKEND="agg",
)

# The same examples every time, and no deadline: a busy machine is no reason to fail.
settings.register_profile("fedbench", derandomize=True, deadline=None, database=None)
settings.load_profile("fedbench")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests on real datasets where there are none, and say why."""
    folder = os.environ.get("FEDBENCH_DATA")
    if folder and Path(folder).is_dir():
        return
    reason = f"FEDBENCH_DATA is not a folder: {folder}" if folder else "FEDBENCH_DATA is not set"
    for item in items:
        if "real" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that stands for ``build``: runs and all else that a test session computes."""
    folder = tmp_path_factory.mktemp("home")
    os.environ["FEDBENCH_HOME"] = str(folder)
    return folder


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a home of its own, so that no test finds the runs of another."""
    monkeypatch.setenv("FEDBENCH_HOME", str(tmp_path / "home"))
