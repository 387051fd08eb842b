"""The commands that users type, on the real datasets with a shipped backbone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PROFILE = """\
title: real datasets, a few examples of each
minutes: 3
partitions:
  - {kind: iid, sites: 2, minimum: 2}
  - {kind: dirichlet, alpha: 0.3, sites: 2, minimum: 2}
common:
  {rounds: 2, passes: 1, learning_rate: 0.003, max_tokens: 128, train_limit: 64, test_limit: 48,
   generated: 4}
grid:
  - tasks: [medqa, medmcqa, fpb, fiqa_sa]
    backbones: [fedbench-llama]
    methods: [lora]
    seeds: [0, 1]
"""


@pytest.mark.real
@pytest.mark.timeout(900)
def test_the_same_notebooks_draw_the_main_table_from_real_data(tmp_path):
    profile = tmp_path / "few.yml"
    profile.write_text(PROFILE, encoding="utf-8")
    environment = os.environ | {"FEDBENCH_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "fedbench", "figures", "--profile", str(profile)]
    output = ["--output", str(tmp_path / "figures")]
    done = subprocess.run(
        [*command, *output], cwd=CHECKOUT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    table = pd.read_csv(tmp_path / "figures" / "main_results.csv")
    accuracy = table[table["metric"] == "accuracy"]
    assert set(accuracy["task"]) == {"medqa", "medmcqa", "fpb", "fiqa_sa"}
    assert set(accuracy["setting"]) == {"base", "local", "federated", "centralized"}
    assert (accuracy["ci_low"] < accuracy["mean"]).all()
    assert not accuracy["synthetic"].any()
    ours = accuracy[accuracy["task"].isin(["fpb", "medmcqa"])]
    assert ours["note"].str.contains("ot comparable with published results").all()


@pytest.mark.real
def test_a_wrong_dataset_folder_ends_in_one_sentence_with_the_remedy(tmp_path):
    folders = {"FEDBENCH_DATA": str(tmp_path), "FEDBENCH_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "fedbench", "run", "--task", "fpb"],
        cwd=tmp_path,
        env=os.environ | folders,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "FEDBENCH_DATA" in done.stderr
