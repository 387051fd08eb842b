"""Tiny runs of several kinds, each of which keeps other files while it is under way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NOISE = {"clip": 1.0, "noise": 1.0, "accountant": "rdp"}
KINDS: Mapping[str, Mapping[str, Any]] = {
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
        "privacy": {"unit": "example", "examples": 8, "delta": 0.01, **_NOISE},
    },
    "masked": {"secure": {}, "privacy": {"unit": "site", **_NOISE}},
    "personal": {"rule": "fedsa-lora", "passes": 2, "own_passes": 1},
    "alone": {"setting": "local", "rounds": 1},
}


def small(toy: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Options of runs of all kinds, of two rounds and a few steps."""
    size = {"rounds": 2, "passes": 1, "generated": 0, "test_limit": 4, "train_limit": 16}
    return {kind: {**toy, **size, **own} for kind, own in KINDS.items()}
