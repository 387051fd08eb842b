"""What is audited: one small site that holds everything."""

from __future__ import annotations

import pytest

from fedbench.config import RunConfig
from fedbench.resolving import resolve


@pytest.fixture
def audited(backbones, toy_task):
    config = RunConfig(
        task=toy_task,
        backbone=str(backbones("llama")),
        setting="centralized",
        rank=2,
        passes=2,
        batch_size=4,
        max_tokens=64,
        generated=0,
    )
    return resolve(config)
