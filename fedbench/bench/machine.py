"""What this machine can do at best, and how long it takes until anything begins."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from fedbench.bench.pairs import interleaved

_SIDE = 1024  #: of square matrices: 12 MiB together, larger ones are no faster
_TRIES = 10

#: What is started, by name: the command line's help, the imports of a run, and those of a notebook.
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "help": ("-m", "fedbench", "--help"),
    "imports of a run": ("-c", "import fedbench.running, transformers, peft"),
    "imports of a notebook": ("-c", "from fedbench import grid, report"),
}
KERNEL = "kernel of a notebook"


def peak_flops() -> float:
    """Floating point operations per second of the best of several fp32 matrix products."""
    left, right = torch.ones(_SIDE, _SIDE), torch.ones(_SIDE, _SIDE)
    best = min(_timed(lambda: torch.mm(left, right)) for _ in range(_TRIES))
    return 2 * _SIDE**3 / best


def start_up(
    names: Sequence[str], repeats: int, tick: Callable[[], None]
) -> dict[str, list[float]]:
    """Seconds until each program has ended, or until a kernel answers, repeat by repeat."""
    calls: dict[str, Callable[[], object]] = {
        name: partial(_run, arguments) for name, arguments in PROGRAMS.items()
    }
    calls[KERNEL] = _kernel
    return interleaved({name: calls[name] for name in names}, repeats, tick)


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _run(arguments: tuple[str, ...]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def _kernel() -> None:
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", stderr=subprocess.DEVNULL)
    client.stop_channels()
    manager.shutdown_kernel(now=True)
