"""Are memory and time flat from ten sites to ten thousand?

The same examples are dealt to more and more sites, so that whatever grows, grows with the sites.
Cohorts keep their size, and each of their sites processes passes x examples / (rounds x cohort)
examples a round, which does not depend on the number of sites either. Every count is a whole run in
a process of its own: partition, rounds, test items and record.

``python -m fedbench.bench.scale`` prints a table and writes ``build/bench/scale.json``.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from fedbench.files import write_bytes, write_json
from fedbench.paths import fresh_home, home
from fedbench.provenance import provenance
from fedbench.streams import generator

COUNTS = (10, 100, 1_000, 10_000)
REPEATS = 3
EXAMPLES = 20_000  #: of training, together
COHORT = 10  #: sites a round
TURN = 32  #: examples that a site processes in a round, in two batches
ROUNDS = 8
_IMPORTED = ("fedbench.running", "peft", "transformers")  #: by every run, so not counted
FLAT_MEMORY, FLAT_TIME = 1.2, 1.1  #: what is allowed from the least to the most sites

Row = dict[str, Any]

_TASK = """\
name: scale
title: Many short reports
domain: finance
synthetic: true
prompt: "{text}\\nMood:"
labels: {"0": bad, "1": good}
answer: {field: mood}
near_repeats: keep
layouts:
  - files: {train: train.csv, validation: validation.csv, test: test.csv}
"""


def measure(
    counts: Sequence[int] = COUNTS, repeats: int = REPEATS, examples: int = EXAMPLES
) -> dict[str, Any]:
    """Do the runs, repeats interleaved; return all measurements and a row per number of sites.

    Memory is in bytes of resident memory above what importing the libraries takes, time in seconds
    per sampled site: what a round took, over its cohort.
    """
    found: list[Row] = []
    for _ in range(repeats):
        for sites in counts:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                found.append(pool.submit(one, sites, examples).result())
    rows = [_summary([row for row in found if row["sites"] == sites]) for sites in counts]
    return {
        "hardware": provenance("")["hardware"],
        "examples": examples,
        "cohort": COHORT,
        "rounds": ROUNDS,
        "rows": rows,
        "growth": {
            name: rows[-1][name] / rows[0][name] for name in ("peak", "peak_of_rounds", "cpu")
        },
        "measurements": found,
    }


def one(sites: int, examples: int = EXAMPLES) -> Row:
    """One run with so many sites, measured in this process."""
    for name in _IMPORTED:
        import_module(name)

    from fedbench.config import RunConfig
    from fedbench.energy.memory import peak_bytes, reset_peak
    from fedbench.running import run

    reset_peak()
    before, wall, cpu, peaks = peak_bytes("cpu"), [], [], []

    def mark(share: float) -> None:
        wall.append(time.perf_counter())
        cpu.append(time.process_time())
        peaks.append(peak_bytes("cpu") - before)
        if len(peaks) == 1:
            reset_peak()  # the first round's peak is that of loading, too

    with fresh_home():
        task = write_task(home() / "task", examples)
        config = RunConfig.model_validate(
            {
                "task": str(task),
                "partition": {"sites": sites, "minimum": 1},
                "participation": COHORT / sites,
                "validated_by": "cohort",
                "rounds": ROUNDS,
                "passes": TURN * COHORT * ROUNDS / examples,
                "generated": 0,
            }
        )
        record = run(config, mark)
    return {
        "sites": sites,
        "peak": max(peaks[0], peak_bytes("cpu") - before),
        "peak_of_rounds": peaks[-1],
        "seconds": _per_site(wall),
        "cpu": _per_site(cpu),
        "processed": record.metrics["examples"],
    }


def write_task(folder: Path, examples: int) -> Path:
    """Write a task of so many training reports, no two of them alike; return its file."""
    for split, count in (("train", examples), ("validation", COHORT), ("test", COHORT)):
        random = generator("scale", split)
        lines = [
            # It begins differently in each, so that sites with few examples share no more of them.
            f"{random.integers(1000, 10_000)} shares of firm {number:06d} {('fell', 'rose')[mood]}"
            f" by {random.integers(10, 100)} points,{mood}"
            for number in range(count)
            for mood in (int(random.integers(2)),)
        ]
        write_bytes(folder / f"{split}.csv", "\n".join(["text,mood", *lines, ""]).encode())
    path = folder / "scale.yml"
    write_bytes(path, _TASK.encode())
    return path


def table(found: Mapping[str, Any]) -> list[str]:
    """Lines that show what was measured."""
    lines = [
        f"{found['examples']:,} examples, {found['cohort']} sites a round; {found['hardware']}",
        "  sites   peak MB   of rounds MB   ms per sampled site (CPU)   spread",
    ]
    for row in found["rows"]:
        low, high = row["cpu_spread"]
        lines.append(
            f"{row['sites']:7,} {row['peak'] / 1e6:9.1f} {row['peak_of_rounds'] / 1e6:14.1f} "
            f"{row['seconds'] * 1e3:12.1f} ({row['cpu'] * 1e3:.1f}) "
            f"     {low * 1e3:.1f} to {high * 1e3:.1f}"
        )
    grown = ", ".join(f"{name} x {factor:.2f}" for name, factor in found["growth"].items())
    lines.append(
        f"from the least sites to the most: {grown} (flat: memory at most x {FLAT_MEMORY}, CPU "
        f"time at most x {FLAT_TIME})"
    )
    return lines


def _per_site(marks: Sequence[float]) -> float:
    """Median time of a round per site of its cohort; the first is left out."""
    return median(b - a for a, b in pairwise(marks)) / COHORT


def _summary(rows: Sequence[Row]) -> Row:
    """Medians over repeats; memory at its highest."""
    cpu = [row["cpu"] for row in rows]
    return {
        "sites": rows[0]["sites"],
        "peak": max(row["peak"] for row in rows),
        "peak_of_rounds": max(row["peak_of_rounds"] for row in rows),
        "seconds": median(row["seconds"] for row in rows),
        "cpu": median(cpu),
        "cpu_spread": [min(cpu), max(cpu)],
        "processed": median(row["processed"] for row in rows),
    }


if __name__ == "__main__":
    result = measure()
    write_json(home() / "bench" / "scale.json", result)
    print("\n".join(table(result)))
