"""Campaigns: many seeded trials of one kind. A sample of each runs with the other tests.

``make soak`` runs them at full size: it names a folder in FEDBENCH_CAMPAIGN, where each campaign
leaves its counts as one JSON file, and :mod:`tests.campaigns.outcome` tells them.
"""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import toys
from tests.campaigns.forked import Preloaded
from tests.campaigns.kinds import small

_GIVEN = os.environ.get("FEDBENCH_CAMPAIGN")
_FOLDER = Path(_GIVEN).absolute() if _GIVEN else None  #: before a test works in another place


@dataclass(frozen=True)
class Campaign:
    """How large a campaign is, where its randomness comes from, and where its counts go."""

    name: str
    folder: Path | None  #: None: a sample
    seed: int
    begun: float = field(default_factory=time.monotonic)

    def size(self, *, sample: int, full: int) -> int:
        """How many trials to make."""
        return full if self.folder else sample

    def count(self, **counts: int | float) -> None:
        """Keep what was counted, such as ``trials=300, wrong_results=0``; of a sample, nothing."""
        if self.folder:
            seconds = round(time.monotonic() - self.begun)
            told = {"seed": self.seed, "seconds": seconds, **counts}
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{self.name}.json").write_text(json.dumps(told, indent=1) + "\n")


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Campaign:
    seed = int(os.environ.get("FEDBENCH_TEST_SEED", "0"))
    print(f"FEDBENCH_TEST_SEED={seed}")
    name = re.sub(r"\W+", "_", request.node.name.removeprefix("test_")).strip("_")
    return Campaign(name, _FOLDER, seed)


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """Options of ``python -m fedbench run`` that name a toy backbone and a toy task."""
    return toys.options(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def options(toy):
    """Tiny configurations by what is special about them, as plain values."""
    return small(toy)


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory, options):
    """A process in which all is loaded; children forked from it do runs and die."""
    with Preloaded(tmp_path_factory.mktemp("preloaded"), options.values()) as process:
        yield process
