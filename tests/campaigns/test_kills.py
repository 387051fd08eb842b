"""Runs, and grids of them, that are killed with SIGKILL at random moments, again and again."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter

import pytest

from tests.campaigns.kinds import KINDS

pytestmark = pytest.mark.slow

_KILLED = -9
#: by what the child is at when the clock is started: seconds until the kill, at most
MOMENTS = {"train": 0.06, "aggregate": 0.004, "write": 0.003, "evaluate": 0.02, "load": 0.05}
_MOST = 3  #: kills of one and the same run


def finished(preloaded, home, configs, **how):
    """Let the runs end in this home; what must be a function of their configurations."""
    out = home.with_suffix(".json")
    ended = preloaded.child(home, configs, out=str(out), **how)
    assert ended["status"] == 0, f"{ended}\n{preloaded.said()}"
    assert not ended["orphans"]
    return json.loads(out.read_text())


@pytest.mark.timeout(3600)
def test_kills_of_runs_at_random_moments(campaign, preloaded, options, tmp_path):
    draw = random.Random(campaign.seed)
    whole = {
        kind: finished(preloaded, tmp_path / f"whole-{kind}", [config])
        for kind, config in options.items()
    }
    wanted = campaign.size(sample=15, full=390)
    kills, homes = Counter(), 0
    while kills.total() < wanted:
        kind = draw.choice([*KINDS])
        home = tmp_path / f"{homes}"
        for _ in range(draw.randint(1, _MOST)):
            moment = draw.choice([*MOMENTS])
            kill = {"at": moment, "nth": draw.randint(1, 12 if moment == "write" else 3)}
            kill["after"] = draw.uniform(0, MOMENTS[moment])
            ended = preloaded.child(home, [options[kind]], kill=kill)
            assert ended["status"] in (0, _KILLED), f"{ended}\n{preloaded.said()}"
            kills[moment] += ended["status"] == _KILLED
        assert finished(preloaded, home, [options[kind]]) == whole[kind], f"{kind} in {home}"
        shutil.rmtree(home)
        homes += 1
    assert all(kills[moment] for moment in MOMENTS)
    campaign.count(kills=kills.total(), runs=homes, wrong_results=0, **kills)


@pytest.mark.timeout(3600)
def test_kills_of_grids_and_their_workers_at_random_moments(campaign, preloaded, options, tmp_path):
    draw = random.Random(campaign.seed)
    config = options["plain"]
    configs = [{**config, "seed": seed} for seed in range(3)]
    whole = finished(preloaded, tmp_path / "whole", configs, grid=True)
    wanted = campaign.size(sample=4, full=60)
    kills, homes = Counter(), 0
    while kills.total() < wanted:
        home = tmp_path / f"{homes}"
        for _ in range(draw.randint(1, _MOST)):
            moment = draw.choice([*MOMENTS])
            kill = {"at": moment, "nth": draw.randint(1, 6), "after": draw.uniform(0, 0.05)}
            worker = draw.random() < 0.5
            kill |= {"worker": draw.randint(0, 1)} if worker else {}
            ended = preloaded.child(home, configs, grid=True, kill=kill)
            assert ended["status"] in (0, _KILLED), f"{ended}\n{preloaded.said()}"
            assert not ended["orphans"], "workers outlive their grid"
            dead = worker and ended["killed"]
            kills["worker" if worker else "grid"] += dead or ended["status"] == _KILLED
        assert finished(preloaded, home, configs, grid=True) == whole, home
        shutil.rmtree(home)
        homes += 1
    assert kills["grid"]
    assert kills["worker"]
    campaign.count(kills=kills.total(), grids=homes, wrong_results=0, orphans=0, **kills)
