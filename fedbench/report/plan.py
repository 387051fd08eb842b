"""What a profile would cost, before anything starts; and whether it can run here at all."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedbench import grid, profiles, store
from fedbench.config import SETTINGS, RunConfig
from fedbench.errors import FedbenchError
from fedbench.paths import home
from fedbench.report import needs
from fedbench.report.needs import Facts
from fedbench.report.shapes import Shape, here, shape_of
from fedbench.report.status import aligned, duration, rebuild_time

UTILISATION = 0.3  #: share of a GPU's peak that training and scoring reach
WATTS_PER_CORE = 10.0
GB = 1e9


@dataclass(frozen=True)
class Device:
    """What runs are done on."""

    kind: Literal["cpu", "cuda"]
    name: str
    memory: float  #: bytes
    peak: float = 0.0  #: FLOP/s in dense bf16; not asked of a CPU
    watts: float = 0.0  #: of the whole board


#: Dense bf16 peak and board power, from NVIDIA's data sheets (SXM versions where there are two).
GPUS: Mapping[str, tuple[float, float]] = {
    "H200": (989e12, 700),
    "H100": (989e12, 700),
    "A100": (312e12, 400),
    "L40S": (362e12, 350),
    "RTX 4090": (165e12, 450),
    "L4": (121e12, 72),
}
#: What GPU-hours are told for where there is no GPU, or one that the list does not have: one that
#: holds the largest run of the profile `paper`.
REFERENCE = Device("cuda", "NVIDIA H200", 141e9, *GPUS["H200"])


@dataclass(frozen=True)
class Need:
    """What one run needs."""

    config: RunConfig
    operations: float
    memory: float
    disk: float

    def hours(self, device: Device) -> float:
        """Hours on a GPU: operations / (peak x utilisation)."""
        return self.operations / (device.peak * UTILISATION) / 3600


def needs_of(
    configs: Iterable[RunConfig], facts: Mapping[str, Facts], shapes: Mapping[str, Shape]
) -> list[Need]:
    """What each run needs."""
    measures = (needs.operations, needs.memory, needs.disk)
    return [
        Need(
            config,
            *(each(config, facts[config.task], shapes[config.backbone]) for each in measures),
        )
        for config in configs
    ]


def refusal(
    profile: str, planned: Sequence[Need], device: Device | None, fetched: float, free: float
) -> str:
    """Why the profile cannot be run here, as one sentence with the remedy; empty if it can.

    Args:
        profile: its name.
        planned: what each run needs.
        device: the one that the profile names, or None where this machine has none.
        fetched: bytes to download.
        free: bytes free on the disk.
    """
    largest = max(planned, key=lambda need: need.memory)
    if device is None:
        return (
            f"Profile {profile} cannot be run on this machine, which has no CUDA device: take one "
            f"with a GPU of at least {largest.memory / GB:.0f} GB."
        )
    together = largest.memory * (grid.cores_here() if device.kind == "cpu" else 1)
    if together > device.memory:
        config = largest.config
        return (
            f"Profile {profile} does not fit {device.name}, which has {device.memory / GB:.0f} GB: "
            f"{config.method} on {config.backbone} needs about {together / GB:.0f} GB for "
            f"{config.task}, so lower batch_size or max_tokens in a profile file of your own."
        )
    wanted = fetched + sum(need.disk for need in planned)
    if wanted > free:
        return (
            f"Profile {profile} needs about {wanted / GB:.1f} GB of disk and {free / GB:.1f} GB "
            "are free: free some, or set FEDBENCH_HOME and HF_HOME to a larger disk."
        )
    return ""


def run_table(configs: Sequence[RunConfig]) -> list[str]:
    """Numbers of runs: tasks and methods down, settings across."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for config in configs:
        counts.setdefault((config.task, config.method), Counter())[config.setting] += 1
    rows = [
        (*about, *(str(count[setting]) for setting in SETTINGS), str(count.total()))
        for about, count in counts.items()
    ]
    whole = Counter(config.setting for config in configs)
    total = ("all", "", *(str(whole[setting]) for setting in SETTINGS), str(whole.total()))
    return aligned([("task", "method", *SETTINGS, "runs"), *rows, total])


def need_table(planned: Sequence[Need], device: Device) -> list[str]:
    """Memory and GPU-hours by backbone and method."""
    groups: dict[tuple[str, str], list[Need]] = {}
    for need in planned:
        groups.setdefault((need.config.backbone.partition("@")[0], need.config.method), []).append(
            need
        )
    timed = device.kind == "cuda"
    rows = []
    for about, group in groups.items():
        largest = max(group, key=lambda need: need.memory)
        hours = [f"{sum(need.hours(device) for need in group):,.1f}"] if timed else []
        rows.append((*about, f"{largest.memory / GB:.1f}", largest.config.task, *hours))
    head = ("backbone", "method", "GB of memory", "with task", *(["GPU-hours"] if timed else []))
    return aligned([head, *rows])


def downloads(
    configs: Sequence[RunConfig], facts: Mapping[str, Facts], shapes: Mapping[str, Shape]
) -> float:
    """Bytes to fetch: backbones that are not here, at 2 bytes a parameter, and datasets."""
    backbones = {config.backbone for config in configs if here(config.backbone) is None}
    tasks = {config.task for config in configs}
    return sum(2.0 * shapes[name].parameters for name in backbones) + sum(
        facts[task].download for task in tasks
    )


def plan(profile: str, say: Callable[[str], None] = print) -> None:
    """Say what ``profile`` needs.

    Raises:
        FedbenchError: it cannot be run on this machine, or a size is not known.
    """
    spec, configs = profiles.read_spec(profile), grid.planned(profile)
    facts, shapes = _sizes(configs)
    planned = needs_of(configs, facts, shapes)
    kind, found = _device(configs)
    told = found if found and (found.peak or kind == "cpu") else REFERENCE
    fetched = downloads(configs, facts, shapes)
    there = sum(store.exists(config.id) for config in configs)
    lines = [
        f"Profile {profile}: {spec.title}. All that follows is estimated, nothing is measured.",
        "",
        *run_table(configs),
        f"{there} of these {len(configs)} runs are there already.",
        "",
        *need_table(planned, told),
        "",
        *(_gpu_lines if kind == "cuda" else _cpu_lines)(planned, told, spec.minutes),
        f"downloads: {fetched / GB:.1f} GB",
        f"disk: {sum(need.disk for need in planned) / GB:.2f} GB for adapters and scored items",
        "",
        "Assumed:",
        *(f"- {line}" for line in (*_assumed(kind, told), *_read(facts), *needs.ASSUMPTIONS)),
    ]
    say("\n".join(lines))
    if why := refusal(profile, planned, found, fetched, _free()):
        raise FedbenchError(why)


def check_fits(profile: str) -> None:
    """Refuse, before anything starts, runs of ``profile`` to be done that cannot fit here.

    Where sizes are not known nothing is refused: the runs themselves tell what is wrong.

    Raises:
        FedbenchError: they cannot; one sentence with the remedy.
    """
    missing = [config for config in grid.planned(profile) if not store.exists(config.id)]
    try:
        facts, shapes = _sizes(missing)
        planned = needs_of(missing, facts, shapes)
    except FedbenchError:
        return
    fetched = downloads(missing, facts, shapes)
    if planned and (why := refusal(profile, planned, _device(missing)[1], fetched, _free())):
        raise FedbenchError(why)


def needed(profile: str) -> list[Need]:
    """What each run of ``profile`` needs.

    Raises:
        FedbenchError: of a task or backbone no size is known.
    """
    configs = grid.planned(profile)
    return needs_of(configs, *_sizes(configs))


def _sizes(configs: Sequence[RunConfig]) -> tuple[dict[str, Facts], dict[str, Shape]]:
    """What is known of every task and backbone.

    Raises:
        FedbenchError: of one of them nothing is.
    """
    facts = {task: _facts(task) for task in sorted({config.task for config in configs})}
    shapes = {name: shape_of(name) for name in sorted({config.backbone for config in configs})}
    return facts, shapes


def _device(configs: Sequence[RunConfig]) -> tuple[str, Device | None]:
    """Which kind of device the runs name, and the one that is here, if one is."""
    kind = "cuda" if any(config.device == "cuda" for config in configs) else "cpu"
    together = all(config.placement == "sharded" for config in configs)
    return kind, gpu_here(together) if kind == "cuda" else cpu_here()


def _free() -> float:
    """Bytes free where runs are kept."""
    return float(shutil.disk_usage(existing(home())).free)


def _gpu_lines(planned: Sequence[Need], device: Device, minutes: float) -> list[str]:
    hours = sum(need.hours(device) for need in planned)
    return [
        f"GPU memory: {max(need.memory for need in planned) / GB:.0f} GB for the largest run",
        f"GPU-hours: {hours:,.0f} on one {device.name} (estimated, a lower bound: without "
        "loading, padding and free generation)",
        f"energy: {hours * device.watts / 1000:,.0f} kWh (estimated)",
    ]


def _cpu_lines(planned: Sequence[Need], device: Device, minutes: float) -> list[str]:
    configs = [need.config for need in planned]
    time = rebuild_time(configs, list(store.finished()), grid.cores_here(), 1.0, minutes)
    joules = time.seconds * grid.cores_here() * WATTS_PER_CORE
    return [
        f"memory: {max(need.memory for need in planned) / GB:.1f} GB per process, one process for "
        f"each of {grid.cores_here()} cores",
        "GPU memory and GPU-hours: none",
        f"time: {duration(time.seconds)} from nothing ({time.source})",
        f"energy: {joules / 3.6e6:.2g} kWh (estimated)",
    ]


def _assumed(kind: str, device: Device) -> list[str]:
    if kind == "cpu":
        return [f"{WATTS_PER_CORE:g} W for a core at work"]
    return [
        f"{device.name}: {device.peak / 1e12:.0f} TFLOP/s in bf16 at {100 * UTILISATION:.0f} % "
        f"utilisation, {device.watts:.0f} W board power all the time (data sheet)"
    ]


def _read(facts: Mapping[str, Facts]) -> list[str]:
    return [
        f"{task}: {some.train:,} training, {some.validation:,} validation and {some.test:,} test "
        f"examples before limits, {some.tokens:.0f} tokens on average, {some.longest:.0f} at most "
        f"({some.source})"
        for task, some in facts.items()
    ]


def _facts(task: str) -> Facts:
    found = needs.facts_of(task)
    if found is None:
        raise FedbenchError(
            f"The data of {task} are not on this machine and their size is not known, so nothing "
            "can be planned: put its files where data/README.md says."
        )
    return found


def gpu_here(together: bool = False) -> Device | None:
    """The first GPU of this machine, or all ``together``, taken to be alike.

    Without peak and power if its data sheet is not known.
    """
    import torch

    if not torch.cuda.is_available():
        return None
    found, count = torch.cuda.get_device_properties(0), torch.cuda.device_count()
    name, memory = str(found.name), float(found.total_memory)
    peak, watts = data_sheet(name)
    if together:
        return Device("cuda", f"{count} x {name}", count * memory, count * peak, count * watts)
    return Device("cuda", name, memory, peak, watts)


def data_sheet(name: str) -> tuple[float, float]:
    """Peak and power of the GPU that calls itself so; zeros if :data:`GPUS` does not have it.

    Whole words are compared, because an L40 is no L4.
    """
    words = f" {name.replace('-', ' ')} "
    return next((known for model, known in GPUS.items() if f" {model} " in words), (0.0, 0.0))


def cpu_here() -> Device:
    """The memory of this machine."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Device("cpu", "this machine", float(total))


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
