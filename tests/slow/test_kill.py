"""A run that is killed with SIGKILL again and again ends with the bits of an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow


def start(home, config):
    environment = os.environ | {"FEDBENCH_HOME": str(home), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "fedbench", "run", "--config", str(config)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(home, config):
    """Let the run end; return what must be a function of its configuration alone."""
    process = start(home, config)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    (manifest,) = home.glob("runs/*/manifest.json")
    record = json.loads((manifest.parent / "run.json").read_text())
    return {
        "files": {
            name: digest
            for name, digest in json.loads(manifest.read_text())["files"].items()
            if name != "run.json"  # holds the time of day
        },
        "metrics": record["metrics"],
        "rounds": record["rounds"],
        "adapter": (manifest.parent / "adapters" / "global.safetensors").read_bytes(),
    }


@pytest.mark.timeout(900)
def test_a_run_killed_at_any_moment_ends_with_the_same_adapter_and_metrics(toy, tmp_path):
    config = tmp_path / "run.yml"
    config.write_text(yaml.safe_dump({**toy, "rounds": 12, "passes": 24}))
    undisturbed = finish(tmp_path / "whole", config)

    seed = int(os.environ.get("FEDBENCH_TEST_SEED", "0"))
    print(f"FEDBENCH_TEST_SEED={seed}")
    draw = random.Random(seed)
    home = tmp_path / "cut"
    checkpoints = [None]
    for _ in range(4):
        process = start(home, config)
        # Imports take most of a process's life: wait until it has done a round, then a while more.
        while process.poll() is None and _checkpoint(home) == checkpoints[-1]:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
        checkpoints.append(_checkpoint(home))
    assert len(set(checkpoints)) > 2, "no two kills came after different rounds"
    assert finish(home, config) == undisturbed


def _checkpoint(home):
    """Content of the run's checkpoint, None where there is none."""
    for path in Path(home).glob("runs/*/work/*/federations/global/checkpoint"):
        with suppress(FileNotFoundError):  # a run that ends removes it
            return path.read_bytes()
    return None
