"""What it takes of a round that a process may be killed at any moment, and power may fail.

Timed within rounds of a run on the look-alike of FPB, as profile smoke has it: all that is taken
by writing files (temporary file, fsync, rename, fsync of the folder), the writing itself included,
and by the checksums of payloads, checkpoints and states, when they are made and when compared.
What would be written anyway, without any promise, is not taken off: the share is an upper bound.

``python -m fedbench.bench.durability`` prints what it found and writes
``build/bench/durability.json``. Runs go to the disk of ``build``, whose fsync it is.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fedbench import files, profiles
from fedbench.bench.pairs import spread
from fedbench.config import RunConfig
from fedbench.files import write_json
from fedbench.paths import home
from fedbench.provenance import provenance
from fedbench.running import run
from fedbench.wire import frame

PROFILE, TASK, METHOD = "smoke", "lookalike_fpb", "lora"
RUNS = 2
MOST = 0.03  #: share of a round's time that reliability may take
_PARTS = {
    "files": files.write_bytes,
    "spooled replies": files.spool_bytes,
    "checksums made": frame.framed,
    "compared": frame.opened,
}


def measure(config: RunConfig | None = None, runs: int = RUNS) -> dict[str, Any]:
    """Seconds of rounds and of each part of them, and the share of all parts, by round.

    Args:
        config: of the run; by default the first federated one of the profile on the task.
        runs: how often it is done, each time from nothing; its first round does not count.
    """
    config = config or _smoke()
    rounds = [found for _ in range(runs) for found in _rounds(config)]
    parts = {name: [one[name] for one in rounds] for name in _PARTS}
    seconds = [one["round"] for one in rounds]
    shares = [sum(one[name] for name in _PARTS) / one["round"] for one in rounds]
    return {
        "hardware": provenance("")["hardware"],
        "task": config.task,
        "backbone": config.backbone,
        "method": config.method,
        "sites": config.partition.sites,
        "milliseconds": {
            name: spread([1e3 * second for second in each]).numbers
            for name, each in {"round": seconds, **parts}.items()
        },
        "share": spread(shares).numbers,
        "share_of_all_rounds": sum(sum(each) for each in parts.values()) / sum(seconds),
    }


def _smoke() -> RunConfig:
    planned = profiles.load(PROFILE).runs
    return next(
        one for one in planned if (one.task, one.method, one.setting) == (TASK, METHOD, "federated")
    )


def _rounds(config: RunConfig) -> list[dict[str, float]]:
    """Seconds of every round of a run, and of its parts."""
    found: list[dict[str, float]] = []
    with _fresh_home(), _timed() as spent:
        began = time.perf_counter()

        def ended(share: float) -> None:
            nonlocal began
            now = time.perf_counter()
            found.append({"round": now - began, **spent})
            spent.update(dict.fromkeys(_PARTS, 0.0))
            began = now

        run(config, ended, again=True)
    return found[1:]  # the first has what comes before it, and is slower than all others


@contextmanager
def _timed() -> Iterator[dict[str, float]]:
    """Seconds that each part has taken so far, wherever it is called from."""
    spent = dict.fromkeys(_PARTS, 0.0)
    places = [
        (module, attribute, name)
        for module in [m for n, m in sys.modules.items() if n.startswith("fedbench.")]
        for name, real in _PARTS.items()
        for attribute in [key for key, value in vars(module).items() if value is real]
        if module.__name__ != __name__
    ]
    for module, attribute, name in places:
        setattr(module, attribute, _clocked(_PARTS[name], name, spent))
    try:
        yield spent
    finally:
        for module, attribute, name in places:
            setattr(module, attribute, _PARTS[name])


def _clocked(real: Any, name: str, spent: dict[str, float]) -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return real(*given, **named)
        finally:
            spent[name] += time.perf_counter() - began

    return call


@contextmanager
def _fresh_home() -> Iterator[None]:
    """A home that is removed at the end, on the same disk as the real one."""
    before, place = os.environ.get("FEDBENCH_HOME"), home() / "bench"
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        os.environ["FEDBENCH_HOME"] = folder
        try:
            yield
        finally:
            del os.environ["FEDBENCH_HOME"]
            if before is not None:
                os.environ["FEDBENCH_HOME"] = before


def table(found: Mapping[str, Any]) -> list[str]:
    """Lines that show what was measured."""
    share, rounds = found["share"], found["milliseconds"]["round"]["n"]
    lines = [
        f"{found['task']}, {found['backbone']}, {found['method']}, {found['sites']} sites, "
        f"{rounds} rounds; {found['hardware']}",
        f"{'milliseconds of':16}{'median':>10}{'lowest':>10}{'highest':>10}",
    ]
    for name in ("round", *_PARTS):
        one = found["milliseconds"][name]
        lines.append(
            f"{name:16}{one['median']:>10.2f}{one['lowest']:>10.2f}{one['highest']:>10.2f}"
        )
    between = f"[{100 * share['lowest']:.2f}, {100 * share['highest']:.2f}]"
    lines.append(f"share of a round: {100 * share['median']:.2f} % {between}")
    lines.append(f"share of all rounds together: {100 * found['share_of_all_rounds']:.2f} %")
    return lines


if __name__ == "__main__":
    result = measure()
    write_json(home() / "bench" / "durability.json", result)
    print("\n".join(table(result)))
