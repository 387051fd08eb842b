"""One federation in a process of its own, from its first import to its last round."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from fedbench.bench import plain_loop, trainer_loop
from fedbench.bench.outcome import Outcome, counted_steps, fetch, leave, outcome
from fedbench.bench.processes import measured
from fedbench.bench.rounds import federation, peer_round
from fedbench.bench.shapes import (
    SHAPES,
    Alone,
    Batches,
    Shape,
    Work,
    attach,
    batches_of,
    config_of,
    holdings,
    make_backbone,
)
from fedbench.bench.sides import OURS, PLAIN, TRAINER, Side
from fedbench.config import RunConfig
from fedbench.errors import FedbenchError

FLOWER = "Flower"
Entrant = Callable[[RunConfig, Shape, Work], Outcome]


def measure_alone(alone: Alone) -> dict[str, Any]:
    """Seconds and peak memory of a whole process that does all rounds, start-up included.

    Nobody has dropout, so that all end with the same adapter. All train and aggregate, and
    validate nothing; ours alone writes a checkpoint of every round, as it does for users.

    Returns:
        The measurement, and what the federation came to; of Flower, where it is not installed,
        that it is ``missing``.

    Raises:
        FedbenchError: the process failed, or did not do the work.
    """
    who, shape, work, rounds = alone.who, alone.shape, alone.work, alone.rounds
    known = {"who": who, "size": alone.size.name, "shape": shape.name, "rounds": rounds}
    if who == FLOWER and not flower_is_there():
        return known | {"missing": "not installed"}
    with tempfile.TemporaryDirectory(prefix="fedbench-") as folder:
        make_backbone(alone.size).save_pretrained(folder)
        parts = [folder, who, shape.name, rounds, work.sites, work.steps, work.batch_size]
        command = [sys.executable, "-m", "fedbench.bench", "alone", *map(str, parts)]
        done = measured(command, Path(folder) / "output")
        came_to = fetch(Path(folder), who, rounds * work.sites * work.steps, rounds)
    return known | done | came_to


def flower_is_there() -> bool:
    """Whether the extra ``bench`` is installed: Flower, and what its simulation needs."""
    return all(importlib.util.find_spec(name) for name in ("flwr", "ray"))


def run_alone(
    folder: str, who: str, shape: str, rounds: int, sites: int, steps: int, batch_size: int
) -> None:
    """What the process does; see :func:`measure_alone`."""
    import torch

    torch.set_num_threads(1)
    work = Work(sites=sites, cohort=sites, steps=steps, batch_size=batch_size)
    if who not in _ENTRANTS:
        raise FedbenchError(f"Nobody is called {who!r}: name one of {', '.join(_ENTRANTS)}.")
    config = config_of(work, rounds=rounds, backbone=folder)
    leave(_ENTRANTS[who](config, SHAPES[shape], work), Path(folder))


def _ours(config: RunConfig, shape: Shape, work: Work) -> Outcome:
    from fedbench.models.attached import attached
    from fedbench.models.tensors import trained_tensors

    with attached(config) as model, counted_steps() as counter:
        initial = trained_tensors(model)
        done = federation(model, initial, config, holdings(shape, work))
        losses = [record["train_loss"] for record in done.log]
        return outcome(counter.steps, losses, initial, done.adapter)


def _peer(
    train: Callable[[Any, Batches, float], list[float]],
    config: RunConfig,
    shape: Shape,
    work: Work,
) -> Outcome:
    import torch
    from transformers import AutoModelForCausalLM

    backbone = AutoModelForCausalLM.from_pretrained(
        config.backbone, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    model = attach(backbone, config)
    initial, held = plain_loop.adapter(model), holdings(shape, work)
    every: list[float] = []

    def local(batches: Batches) -> None:
        every.append(fmean(train(model, batches, config.learning_rate)))

    with counted_steps() as counter:
        for turn in range(config.rounds):
            of_sites = {site: batches_of(held[site], config, site, turn) for site in held}
            peer_round(Side(model, local), of_sites)
    losses = [fmean(every[i : i + work.sites]) for i in range(0, len(every), work.sites)]
    return outcome(counter.steps, losses, initial, plain_loop.adapter(model))


def _flower(config: RunConfig, shape: Shape, work: Work) -> Outcome:
    from fedbench.bench.flower_app import simulate

    return simulate(config, shape, work)


_ENTRANTS: dict[str, Entrant] = {
    OURS: _ours,
    PLAIN: partial(_peer, plain_loop.train),
    TRAINER: partial(_peer, trainer_loop.train),
    FLOWER: _flower,
}
