"""A run that dies at any of its file operations, and may lose power, ends as if it had not."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.campaigns.disk import lose_power
from tests.campaigns.forked import Preloaded

pytestmark = pytest.mark.slow

#: what a run may be like: each keeps other files
KINDS = {
    "plain": {},
    "variates": {"rule": "scaffold", "optimizer": "sgd", "learning_rate": 0.1},
    "changes": {
        "codec": "ef+top-k:share=0.1",
        "codec_down": "delta+int8",
        "participation": 0.5,
        "validated_by": "cohort",
        "partition": {"kind": "iid", "sites": 3, "minimum": 2},
    },
    "private-examples": {
        "privacy": {"unit": "example", "clip": 1.0, "noise": 1.0, "delta": 0.01, "examples": 16},
    },
    "masked": {"secure": {}, "privacy": {"unit": "site", "clip": 1.0, "noise": 1.0}},
    "personal": {"rule": "fedsa-lora", "passes": 3, "own_passes": 1},
    "alone": {"setting": "local", "rounds": 1},
}
_KILLED = -9


@pytest.fixture(scope="module")
def options(toy):
    return {**toy, "rounds": 2, "passes": 2, "generated": 0, "test_limit": 6, "train_limit": 24}


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory, options):
    with Preloaded(tmp_path_factory.mktemp("preloaded"), [options]) as process:
        yield process


class Trials:
    """Trials of one configuration, each in a home that begins as a copy of ``before``."""

    def __init__(self, preloaded, folder: Path, config: dict, before: Path | None = None) -> None:
        self.preloaded, self.folder, self.config, self.before = preloaded, folder, config, before
        self.whole = self.finished("whole")

    def home(self, name: str) -> Path:
        home = self.folder / name
        if self.before:
            shutil.copytree(self.before, home)
        home.mkdir(parents=True, exist_ok=True)
        return home

    def finished(self, name: str) -> dict:
        """Do the run in the home ``name`` as it is; what came out."""
        home, out = self.folder / name, self.folder / f"{name}.json"
        if not home.exists():
            self.home(name)
        ended = self.preloaded.child(home, [self.config], out=str(out))
        assert ended["status"] == 0, f"{name}: {ended}\n{self.preloaded.said()}"
        return json.loads(out.read_text())

    def operations(self) -> list[str]:
        """All file operations of an undisturbed run."""
        aside = self.folder / "aside"
        disk = {"aside": str(aside), "at": None}
        ended = self.preloaded.child(self.home("watched"), [self.config], disk=disk)
        assert ended["status"] == 0, self.preloaded.said()
        return json.loads((aside / "told.json").read_text())["done"]

    def dies(self, at: int, half: bool, draw: random.Random) -> int:
        """Die at an operation and go on; then the same with a loss of power. How much that lost."""
        name, aside = f"{at}{'-half' if half else ''}", self.folder / f"{at}-aside"
        disk = {"aside": str(aside), "at": at, "half": half}
        home = self.home(name)
        assert self.preloaded.child(home, [self.config], disk=disk)["status"] == _KILLED, name
        cut, killed = f"{name}-cut", self.folder / f"{name}-killed"
        home.rename(self.folder / cut)
        shutil.copytree(self.folder / cut, killed, symlinks=True)
        assert self.finished(killed.name) == self.whole, f"killed at {name}"
        (self.folder / cut).rename(home)  # under its own name, as the notes have it
        lost = lose_power(home, aside, draw)
        if lost:
            assert self.finished(name) == self.whole, f"lost power at {name}"
        for path in (home, killed, aside):
            shutil.rmtree(path)
        return lost


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_crash_at_every_file_operation_of_a_run(campaign, preloaded, options, tmp_path, kind):
    trials = Trials(preloaded, tmp_path, {**options, **KINDS[kind]})
    _crash_everywhere(campaign, trials)


def _crash_everywhere(campaign, trials: Trials) -> None:
    done = trials.operations()
    points = [(at, False) for at in range(len(done))]
    points += [(at, True) for at, what in enumerate(done) if what.startswith("write")]
    draw = random.Random(campaign.seed)
    chosen = draw.sample(points, min(len(points), campaign.size(sample=12, full=len(points))))
    lost = [trials.dies(at, half, draw) for at, half in sorted(chosen)]
    kinds = Counter(what.partition(" ")[0] for what in done)
    assert {"create", "write", "sync", "rename", "unlink", "mkdir", "rmdir"} == {*kinds}
    assert len(points) > 100
    assert any(lost)
    campaign.count(
        operations=len(done), trials=len(chosen), losses_of_power=sum(map(bool, lost)),
        wrong_results=0,
    )  # fmt: skip
