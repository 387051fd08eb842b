"""Our rules beside Flower's strategies: the same models, round by round, from the same updates."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fedbench.rules import rule_of
from tests import flower_vectors as flower

from .rounds import moves, rounds

STORED = json.loads(flower.PATH.read_text(encoding="utf-8"))


def adapter(parts):
    return {f"part {k}": torch.tensor(part, dtype=torch.float64) for k, part in enumerate(parts)}


@pytest.mark.parametrize("name", flower.OURS)
def test_a_rule_gives_the_models_that_flower_gives(name):
    text, examples = flower.OURS[name]
    found = []
    rounds(
        text,
        adapter(flower.START),
        [
            [
                (moves(adapter(update)), count)
                for count, update in zip(examples, flower.updates(round_), strict=True)
            ]
            for round_ in range(1, flower.ROUNDS + 1)
        ],
        between=lambda state: found.append(rule_of(text).broadcast(state, "site-00").adapter),
    )
    for ours, theirs in zip(found, STORED["rounds"][name], strict=True):
        for value, expected in zip(ours.values(), theirs, strict=True):
            assert np.allclose(value.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_what_is_stored_is_what_flower_gives_here():
    pytest.importorskip("flwr", reason="Flower is not installed: make env EXTRAS=dev,flower")
    found = flower.vectors()["rounds"]
    for name, models in STORED["rounds"].items():
        for model, expected in zip(found[name], models, strict=True):
            for part, stored in zip(model, expected, strict=True):
                assert np.allclose(part, stored, rtol=1e-9, atol=1e-12)
