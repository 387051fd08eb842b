"""Whole rounds: broadcast, local training, upload, aggregation, through the real loop."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedbench.bench import plain_loop
from fedbench.bench.pairs import interleaved
from fedbench.bench.seconds import observed_seconds
from fedbench.bench.shapes import (
    Batches,
    Held,
    Timed,
    batches_of,
    config_of,
    holdings,
    site_names,
)
from fedbench.bench.sides import DROPOUT, OURS, PLAIN, TRAINER, Side, ours, plain, trainer
from fedbench.cohorts import draw_cohort
from fedbench.config import RunConfig
from fedbench.engines.in_process import InProcess
from fedbench.federation import Federated, federate
from fedbench.models.tensors import trained_tensors
from fedbench.rules.rule import State
from fedbench.site import SiteContext

ROUNDERS = 3  #: how many take part


def measure_rounds(timed: Timed, repeats: int, tick: Callable[[], None]) -> dict[str, Any]:
    """Seconds of one round of every contender, and what of ours was local training."""
    size, shape, work = timed.size, timed.shape, timed.work
    config, wet = config_of(work), config_of(work, dropout=DROPOUT)
    held = holdings(shape, work)
    sides = {OURS: ours(size, config), PLAIN: plain(size, wet), TRAINER: trainer(size, wet)}
    first = batches_of(next(iter(held.values())), config, "warm-up")[:1]
    for side in sides.values():
        side.train(first)
    initial = trained_tensors(sides[OURS].model)
    cohort = draw_cohort(config, site_names(work), 0)
    batches = {site: batches_of(held[site], config, site) for site in cohort}
    trained: list[float] = []
    logs: list[dict[str, Any]] = []

    def our_round() -> None:
        with observed_seconds() as seconds:
            logs.extend(federation(sides[OURS].model, initial, config, held).log)
        trained.append(seconds["train"])

    calls = {
        OURS: our_round,
        PLAIN: lambda: peer_round(sides[PLAIN], batches),
        TRAINER: lambda: peer_round(sides[TRAINER], batches),
    }
    seconds = interleaved(calls, repeats, tick)
    return {
        "size": size.name,
        "shape": shape.name,
        "cohort": len(cohort),
        "steps": logs[0]["steps"],
        "bytes_down": logs[0]["bytes_down"],
        "bytes_up": logs[0]["bytes_up"],
        "adapter_values": sum(tensor.numel() for tensor in initial.values()),
        "seconds": seconds,
        "training_seconds": trained,
    }


def federation(model: Any, initial: State, config: RunConfig, held: Held) -> Federated:
    """All rounds of ours, with real payloads, checkpoints on disk, and nothing to validate."""
    with tempfile.TemporaryDirectory(prefix="fedbench-") as folder:
        contexts = {
            site: SiteContext(
                site=site,
                config=config,
                model=model,
                training=examples,
                validation=[],
                validation_gold=[],
                length_normalised=False,
                initial=initial,
                folder=Path(folder) / "sites",
            )
            for site, examples in held.items()
        }
        return federate(config, InProcess(contexts), list(held), initial, Path(folder))


def peer_round(side: Side, batches: Mapping[str, Batches]) -> None:
    """One round as one writes it: the same adapter for every site, trained, then the mean."""
    shared = plain_loop.adapter(side.model)
    trained = []
    for of_site in batches.values():
        plain_loop.load(side.model, shared)
        side.train(of_site)
        trained.append(plain_loop.adapter(side.model))
    weights = [sum(map(len, of_site)) for of_site in batches.values()]
    plain_loop.load(side.model, plain_loop.mean(trained, weights))
