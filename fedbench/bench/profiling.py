"""Where time goes: the phases of a short run, and the operators of a training step."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fedbench.bench.seconds import observed_seconds
from fedbench.bench.shapes import Shape, Size, Work, batches_of, config_of, sequences
from fedbench.bench.sides import ours
from fedbench.config import PartitionConfig, RunConfig
from fedbench.paths import fresh_home
from fedbench.phases import PHASES
from fedbench.seeding import single_thread

#: Groups of operators by words in their names; the first that fits counts, in this order.
_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("optimizer and clipping", ("adam", "optimizer", "_foreach", "linalg_vector_norm")),
    ("attention", ("attention", "attn")),
    ("matrix products", ("::mm", "addmm", "::bmm", "::linear", "::matmul", "baddbmm")),
    (
        "copies and views",
        *(("copy", "::cat", "contiguous", "clone", "::to", "index", "gather", "view", "empty"),),
    ),
    ("element-wise", ("aten::",)),
)
_REST = "Python and autograd"
_REPEATS = 3

#: One federated run with everything in it, small enough for half a minute.
SHORT_RUN = RunConfig(
    task="lookalike_fpb",
    partition=PartitionConfig(sites=4),
    rounds=2,
    passes=2,
    batch_size=8,
    train_limit=160,
    validation_limit=32,
    test_limit=64,
    generated=8,
)


class Part(NamedTuple):
    """A share of some time."""

    name: str
    seconds: float
    share: float


def phases_of(config: RunConfig) -> list[Part]:
    """Do the run anew, in a home of its own; the seconds of each of its phases."""
    import fedbench

    with fresh_home(), observed_seconds() as seconds:
        fedbench.run(config, again=True)
    return parts({name: seconds.get(name, 0.0) for name in PHASES})


def operators(size: Size, shape: Shape, work: Work) -> list[Part]:
    """Of one step of local training: seconds by group of operators, and what is left.

    The rest is Python, autograd's bookkeeping, making batches, and what the profiler itself takes:
    no more than that is Python's. Of several passes the fastest counts.
    """
    from torch.profiler import ProfilerActivity, profile

    config = config_of(work)
    batches = batches_of(sequences(shape, work.steps * work.batch_size, "steps"), config, "steps")
    with single_thread():
        side = ours(size, config)
        side.train(batches)
        passes = []
        for _ in range(_REPEATS):
            with profile(activities=[ProfilerActivity.CPU]) as seen:
                began = time.perf_counter()
                side.train(batches)
                whole = time.perf_counter() - began
            own = {event.key: event.self_cpu_time_total / 1e6 for event in seen.key_averages()}
            passes.append((whole, own))
    whole, own = min(passes, key=lambda one: one[0])
    return parts(with_rest(grouped(own), whole, work.steps))


def grouped(own: Mapping[str, float]) -> dict[str, float]:
    """Seconds by group, from those of every operator; names that no group knows are left out."""
    found = {name: 0.0 for name, _ in _GROUPS}
    for operator, seconds in own.items():
        if (group := group_of(operator)) is not None:
            found[group] += seconds
    return found


def group_of(operator: str) -> str | None:
    """The group of an operator; None for Python's own frames and autograd's nodes."""
    if not operator.startswith("aten::"):
        return None
    lowered = operator.lower()
    return next(name for name, words in _GROUPS if any(word.lower() in lowered for word in words))


def with_rest(known: Mapping[str, float], whole: float, steps: int) -> dict[str, float]:
    """Seconds per step by group and, to make up ``whole``, of everything else."""
    rest = max(0.0, whole - sum(known.values()))
    return {name: seconds / steps for name, seconds in {**known, _REST: rest}.items()}


def parts(seconds: Mapping[str, float]) -> list[Part]:
    """Names with seconds and shares, the greatest first."""
    total = sum(seconds.values()) or 1.0
    found = [Part(name, value, value / total) for name, value in seconds.items()]
    return sorted(found, key=lambda part: -part.seconds)


def lines(title: str, found: Sequence[Part], unit: str = "s", scale: float = 1.0) -> str:
    """The parts as text, a line each."""
    width = max(len(part.name) for part in found)
    rows = [
        f"  {part.name:<{width}}  {scale * part.seconds:9.2f} {unit}  {100 * part.share:5.1f} %"
        for part in found
    ]
    return "\n".join([title, *rows])
