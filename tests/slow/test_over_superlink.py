"""Over a real SuperLink and a SuperNode per site, a run is the same as in process, to the bit."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("flwr", reason='needs pip install "fedbench[flower]"')

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

COMBINED = {
    "averaged and compressed": {"rule": "fedavg", "codec": "int8", "codec_down": "delta+int8"},
    # one round has five exchanges, and a SuperNode looks for a message every three seconds
    "adaptive and masked": {"rule": "fedadam", "secure": {"bound": 8.0}, "rounds": 1, "passes": 1},
}


@pytest.fixture
def configured(toy, tmp_path):
    """A file with a run of two rounds and two sites."""

    def of(**more):
        path = tmp_path / "run.yml"
        path.write_text(yaml.safe_dump({**toy, "rounds": 2, "passes": 2, **more}))
        return path

    return of


def start(home, config, engine):
    return subprocess.Popen(
        [sys.executable, "-m", "fedbench", "run", "--config", str(config), "--engine", engine],
        env=os.environ | {"FEDBENCH_HOME": str(home), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, home):
    """What a run printed, which engine it had, and what must be a function of its configuration."""
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    (manifest,) = home.glob("runs/*/manifest.json")
    record = json.loads((manifest.parent / "run.json").read_text())
    files = json.loads(manifest.read_text())["files"]
    files.pop("run.json")  # holds the time of day
    result = {"files": files, "metrics": record["metrics"], "rounds": record["rounds"]}
    return printed, record["provenance"]["engine"], result


def around(home):
    """Processes that know of this home: the run, and all that it started, by what they are."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if str(home).encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it ended just now, or is somebody else's
            continue
    return {
        number: [word.decode() for word in words] for number, words in found.items() if words[0]
    }


def left(home):
    """What is still there after a moment."""
    ends = time.monotonic() + 5
    while (found := around(home)) and time.monotonic() < ends:
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("combined", COMBINED)
def test_a_run_over_a_superlink_is_the_same(configured, tmp_path, combined):
    config = configured(**COMBINED[combined])
    here, there = tmp_path / "here", tmp_path / "there"
    _, engine, expected = finish(start(here, config, "in-process"), here)
    assert engine == "in-process"
    printed, engine, found = finish(start(there, config, "flower"), there)
    assert engine == "flower"
    assert found == expected
    told = re.search(r"over Flower: (\S+) MB of payloads in both directions, and (\S+) MB", printed)
    counted = sum(value for name, value in found["metrics"].items() if name.startswith("bytes_"))
    assert float(told[1]) == pytest.approx(counted / 1e6, rel=0.01)
    assert 0 < float(told[2]) < float(told[1])
    assert left(there) == {}


def test_a_run_that_was_stopped_and_killed_leaves_no_process_and_goes_on(configured, tmp_path):
    config, here, cut = configured(rounds=4), tmp_path / "here", tmp_path / "cut"
    _, _, expected = finish(start(here, config, "in-process"), here)
    seen = [None]
    for how in (signal.SIGINT, signal.SIGKILL):
        process = start(cut, config, "flower")
        wait_for(process, lambda: checkpoint(cut) not in seen)
        seen.append(checkpoint(cut))
        assert len(around(cut)) == 6  # the run, a SuperLink, two sites and a SuperNode for each
        process.send_signal(how)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == {signal.SIGINT: 130}.get(how, -how), errors
        assert left(cut) == {}
    _, _, found = finish(start(cut, config, "flower"), cut)
    assert found == expected
    assert [*cut.rglob("flower-*")] == []


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("link", "Flower's SuperLink ended; it said last: "),
        ("site", "ended before its time; it said last: "),
    ],
)
def test_a_process_that_ends_before_its_time_stops_the_run_and_is_told(
    configured, tmp_path, kind, said
):
    home = tmp_path / "home"
    process = start(home, configured(rounds=20), "flower")
    wait_for(process, lambda: checkpoint(home))
    for number, words in around(home).items():
        if kind in words[4:5]:
            os.kill(number, signal.SIGKILL)
            break
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2, errors
    assert said in errors
    assert "Traceback" not in errors
    assert left(home) == {}


def wait_for(process, there):
    ends = time.monotonic() + 120
    while process.poll() is None and not there():
        assert time.monotonic() < ends
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()


def checkpoint(home):
    """Content of the run's checkpoint, None where there is none."""
    for path in home.glob("runs/*/work/*/federations/global/checkpoint"):
        try:
            return path.read_bytes()
        except FileNotFoundError:  # a run that ends removes it
            break
    return None
