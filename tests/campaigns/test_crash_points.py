"""A run that dies at any of its file operations, and may lose power, ends as if it had not."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from fedbench.files import read_json, write_json
from fedbench.manifests import files_of, harmed, write_manifest
from tests.campaigns.disk import lose_power
from tests.campaigns.kinds import KINDS

pytestmark = pytest.mark.slow

_KILLED = -9


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

    def dies(self, at: int, half: bool, draw: random.Random, *, power: bool) -> int:
        """Die at an operation and go on; then, with ``power`` lost, too. How much that lost."""
        name, aside = f"{at}{'-half' if half else ''}", self.folder / f"{at}-aside"
        disk = {"aside": str(aside), "at": at, "half": half}
        home = self.home(name)
        assert self.preloaded.child(home, [self.config], disk=disk)["status"] == _KILLED, name
        cut, killed = f"{name}-cut", self.folder / f"{name}-killed"
        home.rename(self.folder / cut)
        shutil.copytree(self.folder / cut, killed, symlinks=True)
        assert self.finished(killed.name) == self.whole, f"killed at {name}"
        (self.folder / cut).rename(home)  # under its own name, as the notes have it
        lost = lose_power(home, aside, draw) if power else 0
        if lost:
            assert self.finished(name) == self.whole, f"lost power at {name}"
        for path in (home, killed, aside):
            shutil.rmtree(path)
        return lost


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_crash_at_every_file_operation_of_a_run(campaign, preloaded, options, tmp_path, kind):
    trials = Trials(preloaded, tmp_path, options[kind])
    _crash_everywhere(campaign, trials)


@pytest.mark.timeout(3600)
def test_crash_at_every_file_operation_of_a_run_that_replaces_an_old_one(
    campaign, preloaded, options, tmp_path
):
    """What there is at any moment is the old run, the new one, or none; never a mixture."""
    before = Trials(preloaded, tmp_path / "old", options["plain"])
    home = before.folder / "whole"
    (record,) = home.glob("runs/*/run.json")
    told = read_json(record)
    told["provenance"]["data"] = "of other data"
    write_json(record, told)
    write_manifest(record.parent, files_of(record.parent))
    assert not [*harmed(record.parent)]  # else it would be done again as damaged, not as stale
    trials = Trials(preloaded, tmp_path / "new", options["plain"], home)
    assert trials.whole == before.whole
    done = _crash_everywhere(campaign, trials)
    assert any(what.startswith("unlink") and what.endswith("manifest.json") for what in done)


def _crash_everywhere(campaign, trials: Trials) -> list[str]:
    """Die at every operation, in a sample at some of them; all of them are returned."""
    done = trials.operations()
    points = [(at, False) for at in range(len(done))]
    points += [(at, True) for at, what in enumerate(done) if what.startswith("write")]
    draw = random.Random(campaign.seed)
    chosen = draw.sample(points, min(len(points), campaign.size(sample=6, full=len(points))))
    lost = [
        trials.dies(at, half, draw, power=number % 2 == 0)
        for number, (at, half) in enumerate(sorted(chosen))
    ]
    kinds = Counter(what.partition(" ")[0] for what in done)
    assert {"create", "write", "sync", "rename", "unlink", "mkdir", "rmdir"} == {*kinds}
    assert len(points) > 100
    assert any(lost)
    campaign.count(
        operations=len(done), trials=len(chosen), losses_of_power=sum(map(bool, lost)),
        wrong_results=0,
    )  # fmt: skip
    return done
