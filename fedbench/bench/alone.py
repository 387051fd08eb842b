"""One federation in a process of its own, from its first import to its last round."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fedbench.bench import plain_loop, trainer_loop
from fedbench.bench.processes import measured
from fedbench.bench.rounds import federation, peer_round
from fedbench.bench.shapes import (
    SHAPES,
    Alone,
    Shape,
    Work,
    attach,
    batches_of,
    config_of,
    holdings,
    make_backbone,
    site_names,
)
from fedbench.bench.sides import DROPOUT, OURS, PLAIN, TRAINER, Side
from fedbench.config import RunConfig
from fedbench.errors import FedbenchError

FLOWER = "Flower"
Entrant = Callable[[RunConfig, Shape, Work], None]


def measure_alone(alone: Alone) -> dict[str, Any]:
    """Seconds and peak memory of a whole process that does all rounds, start-up included.

    Returns:
        The measurement; of Flower, where it is not installed, that it is ``missing``.

    Raises:
        FedbenchError: the process failed.
    """
    who, shape, work, rounds = alone.who, alone.shape, alone.work, alone.rounds
    known = {"who": who, "size": alone.size.name, "shape": shape.name, "rounds": rounds}
    if who == FLOWER and not flower_is_there():
        return known | {"missing": "not installed"}
    with tempfile.TemporaryDirectory(prefix="fedbench-") as folder:
        make_backbone(alone.size).save_pretrained(folder)
        parts = [folder, who, shape.name, rounds, work.sites, work.cohort, work.steps]
        command = [sys.executable, "-m", "fedbench.bench", "alone", *map(str, parts)]
        done = measured(command, Path(folder) / "output")
    return known | done


def flower_is_there() -> bool:
    """Whether the extra ``flower`` is installed."""
    return all(importlib.util.find_spec(name) for name in ("flwr", "ray"))


def run_alone(
    folder: str, who: str, shape: str, rounds: int, sites: int, cohort: int, steps: int
) -> None:
    """What the process does; see :func:`measure_alone`."""
    import torch

    torch.set_num_threads(1)
    work = Work(sites=sites, cohort=cohort, steps=steps)
    if who not in _ENTRANTS:
        raise FedbenchError(f"Nobody is called {who!r}: name one of {', '.join(_ENTRANTS)}.")
    dropout = 0.0 if who == OURS else DROPOUT
    config = config_of(work, rounds=rounds, backbone=folder, dropout=dropout)
    _ENTRANTS[who](config, SHAPES[shape], work)


def _ours(config: RunConfig, shape: Shape, work: Work) -> None:
    from fedbench.models.attached import attached
    from fedbench.models.tensors import trained_tensors

    with attached(config) as model:
        federation(model, trained_tensors(model), config, holdings(shape, work))


def _peer(train: Callable[..., object], config: RunConfig, shape: Shape, work: Work) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from fedbench.federation import draw_cohort

    backbone = AutoModelForCausalLM.from_pretrained(config.backbone, dtype=torch.float32)
    model = attach(backbone, config)
    side = Side(model, lambda batches: train(model, batches, config.learning_rate))
    held = holdings(shape, work)
    for round_ in range(config.rounds):
        cohort = draw_cohort(config, site_names(work), round_)
        peer_round(side, {site: batches_of(held[site], config, site) for site in cohort})


def _flower(config: RunConfig, shape: Shape, work: Work) -> None:
    from fedbench.bench.flower_app import simulate

    simulate(config, shape, work)


_ENTRANTS: dict[str, Entrant] = {
    OURS: _ours,
    PLAIN: partial(_peer, plain_loop.train),
    TRAINER: partial(_peer, trainer_loop.train),
    FLOWER: _flower,
}
