"""Large backbones on a GPU: tokens a second, use of the machine, memory and energy per method.

Each backbone is built with drawn weights and trained with every method by this project's own local
training. No score is among what is told.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from tqdm import tqdm

from fedbench.bench import plain_loop
from fedbench.bench.large import build, pack
from fedbench.bench.shapes import SHAPES, Batches, Shape, Work, batches_of, config_of, sequences
from fedbench.bench.sides import DROPOUT, OURS, PLAIN, PLAIN_DRY
from fedbench.config import RunConfig
from fedbench.energy.memory import peak_bytes, reset_peak
from fedbench.energy.meters import Meter
from fedbench.energy.suite import idle_watts
from fedbench.models.families import family_of
from fedbench.models.methods import METHODS
from fedbench.models.tensors import count, trained_tensors
from fedbench.provenance import fingerprint, provenance
from fedbench.report import shapes as backbones
from fedbench.report.needs import Facts, tensors
from fedbench.seeding import seeded
from fedbench.streams import seed_of
from fedbench.train import LocalObjective, train

#: No prefix is worth sharing in it, so that every token goes through every block.
TEXTS = Shape("512 tokens, 128 supervised", 2, (380,) * 6, 2, (127,) * 6, longest=512)

_WORK = Work(sites=1, cohort=1, steps=8, batch_size=8)
_COMMAND = "python -m fedbench.bench systems"
_ROOT = "fedbench.running"  #: whose code is timed

#: The configurations of a backbone, by name. The packed backbone comes last: it replaces the plain.
WAYS: Mapping[str, Mapping[str, Any]] = {
    "lora": {},
    "lora, checkpointing": {"checkpointing": True},
    "ia3": {"method": "ia3"},
    "qlora": {"method": "qlora", "compute": "nf4"},
    "qlora, checkpointing": {"method": "qlora", "compute": "nf4", "checkpointing": True},
}


@dataclass(frozen=True)
class Load:
    """How much is measured, and where."""

    names: Sequence[str]  #: backbones
    beside: Sequence[str] = ()  #: those of them on which a user's loop is timed, too
    device: str = "cuda"
    dtype: str = "bfloat16"
    work: Work = _WORK
    repeats: int = 3
    side: int = 8192  #: of square matrices, for the peak


Row = dict[str, Any]
Record = dict[str, Any]
#: Rows of one backbone: (model, shape, architecture, load, meter).
Part = Callable[[Any, backbones.Shape, str, Load, Meter], Iterator[Row]]


def measure(
    load: Load,
    shapes: Mapping[str, tuple[backbones.Shape, str]],
    meter: Meter,
    keep: Callable[[Record], object],
) -> Record:
    """Everything of ``load``, one backbone after the other; a record of plain values.

    Args:
        load: how much.
        shapes: shape and architecture of each of its backbones.
        meter: what counts joules while steps are made.
        keep: called with the record whenever a row was added, so that nothing measured is lost.
    """
    record: Record = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "provenance": provenance(fingerprint(_ROOT))
        | {"command": "python -m fedbench.bench systems"},
        "device": torch.cuda.get_device_name() if load.device == "cuda" else load.device,
        "dtype": load.dtype,
        "peak_flops": peak_flops(load),
        "idle_watts": idle_watts(meter),
        "how": dict(meter.how()),
        "texts": TEXTS.name,
        "batch_size": load.work.batch_size,
        "rows": [],
        "beside": [],
    }
    parts: list[tuple[str, str, Part]] = [
        (name, kind, part)
        for name in load.names
        for kind, part in (("rows", _of_methods), ("beside", _beside))
        if kind == "rows" or name in load.beside
    ]
    for name, kind, part in tqdm(parts, unit="part"):
        shape, architecture = shapes[name]
        model = build(shape, architecture, load.device, load.dtype)
        about = {"backbone": name, "parameters": model.num_parameters()}
        for row in part(model, shape, architecture, load, meter):
            record[kind].append(about | row)
            keep(record)
        del model
        _free(load.device)
    return record


def _of_methods(
    model: Any, shape: backbones.Shape, architecture: str, load: Load, meter: Meter
) -> Iterator[Row]:
    work = load.work
    held = sequences(TEXTS, work.steps * work.batch_size, "systems")
    for name, fields in WAYS.items():
        config = configured(load, fields)
        if config.compute == "nf4" and not getattr(model, "is_loaded_in_4bit", False):
            pack(model, load.dtype)
            _free(load.device)
        tuned = _attach(model, architecture, config)
        found = _steps(tuned, batches_of(held, config, "systems"), config, load, meter)
        yield {
            "way": name,
            "trained_parameters": count(trained_tensors(tuned)),
            "predicted_bytes": tensors(config, facts(work), shape),
            **found,
        }
        METHODS[config.method].detach(tuned)
        _release(model, config)


def _steps(
    model: Any, batches: Batches, config: RunConfig, load: Load, meter: Meter
) -> dict[str, Any]:
    """Seconds and joules of several calls that make the same steps, and the peak of memory."""
    _ours(model, batches[:2], config)  # the first steps of a process are slower than all others
    _wait(load.device)
    reset_peak()
    seconds, joules = [], []
    for _ in range(load.repeats):
        meter.start()
        began = time.perf_counter()
        report = train(model, batches, config, (0.0, 1.0), LocalObjective())
        _wait(load.device)
        seconds.append(time.perf_counter() - began)
        joules.append(dict(meter.stop()))
    return {
        "seconds": seconds,
        "joules": joules,
        "peak_bytes": peak_bytes(load.device),
        "tokens": report.tokens,
        "flops": report.flops,
        "steps": report.steps,
        "loss": report.loss,
    }


def _beside(
    model: Any, shape: backbones.Shape, architecture: str, load: Load, meter: Meter
) -> Iterator[Row]:
    """Our steps and a user's on the same batches, repeat by repeat, with LoRA."""
    for texts in SHAPES.values():
        held = sequences(texts, load.work.steps * load.work.batch_size, "systems")
        seconds: dict[str, list[float]] = {OURS: [], PLAIN_DRY: [], PLAIN: []}
        for repeat in range(load.repeats + 1):
            for dropout, names in ((0.0, (OURS, PLAIN_DRY)), (DROPOUT, (PLAIN,))):
                config = configured(load, {"dropout": dropout})
                tuned = _attach(model, architecture, config)
                batches = batches_of(held, config, "systems")
                for name in names:
                    took = _seconds(partial(LOOPS[name], tuned, batches, config), load.device)
                    seconds[name] += [took] if repeat else []  # the first is not counted
                METHODS[config.method].detach(tuned)
        yield {"shape": texts.name, "steps": load.work.steps, "seconds": seconds}


def _ours(model: Any, batches: Batches, config: RunConfig) -> object:
    return train(model, batches, config, (0.0, 1.0), LocalObjective())


def _plain(model: Any, batches: Batches, config: RunConfig) -> object:
    return plain_loop.train(model, batches, config.learning_rate)


LOOPS = {OURS: _ours, PLAIN_DRY: _plain, PLAIN: _plain}


def _seconds(call: Callable[[], object], device: str) -> float:
    _wait(device)
    began = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - began


def configured(load: Load, fields: Mapping[str, Any]) -> RunConfig:
    """The run whose training steps are made, with ``fields`` of one of :data:`WAYS`."""
    where = {"device": load.device, "dtype": load.dtype, "max_tokens": TEXTS.longest}
    return config_of(load.work).model_copy(update=where | dict(fields))


def _attach(model: Any, architecture: str, config: RunConfig) -> Any:
    with seeded(seed_of("init", config.seed)):
        tuned = METHODS[config.method].attach(model, family_of(architecture), config)
    if config.checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return tuned


def _release(model: Any, config: RunConfig) -> None:
    if config.checkpointing:
        model.activation_checkpointing_disable()


def facts(work: Work) -> Facts:
    """What a plan would be told of these texts."""
    tokens = float(TEXTS.longest)
    return Facts(work.steps * work.batch_size, 0, 0, tokens, tokens, tokens, "drawn")


def peak_flops(load: Load) -> float:
    """Operations a second of the best of several matrix products in the backbone's type."""
    kind = {"device": load.device, "dtype": getattr(torch, load.dtype)}
    side = load.side
    left, right = torch.randn(side, side, **kind), torch.randn(side, side, **kind)
    best = min(_seconds(lambda: torch.mm(left, right), load.device) for _ in range(10))
    return 2 * side**3 / best


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _free(device: str) -> None:
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
