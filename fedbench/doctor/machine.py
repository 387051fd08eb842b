"""The machine: Python, cores, memory, clock, GPU, power counters."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from fedbench import grid
from fedbench.doctor.finding import FAIL, NOTE, OK, Finding
from fedbench.paths import CHECKOUT, PACKAGE
from fedbench.provenance import git
from fedbench.report.plan import GB, needed

PYTHONS = ((3, 11), (3, 13))  #: the first and the last that are supported
RAPL = Path("/sys/class/powercap")
_DAY = 86400.0
_PROFILE = "smoke"


def python() -> Finding:
    """Its version is one that fedbench was tested with."""
    here = sys.version_info[:2]
    name = f"Python {'.'.join(map(str, sys.version_info[:3]))}"
    if PYTHONS[0] <= here <= PYTHONS[1]:
        return Finding("Python", OK, name)
    return Finding("Python", FAIL, f"{name}: fedbench needs 3.11 to 3.13; make env PYTHON=... .")


def cores() -> Finding:
    """Processes run side by side with one thread each."""
    threads = os.environ.get("OMP_NUM_THREADS")
    said = f"{grid.cores_here()} cores, OMP_NUM_THREADS = {threads or 'not set'}"
    if threads == "1":
        return Finding("cores", OK, said)
    return Finding("cores", NOTE, f"{said}: set it to 1, as make does, for speed.")


def memory() -> Finding:
    """What is free is enough for as many runs of ``smoke`` as a grid does side by side."""
    free = available()
    if free is None:
        return Finding("memory", NOTE, "this system does not say how much is free.")
    asked = max(need.memory for need in needed(_PROFILE)) * grid.cores_here()
    said = f"{free / GB:.1f} GB free, {_PROFILE} needs about {asked / GB:.1f} GB"
    if free >= asked:
        return Finding("memory", OK, said)
    return Finding("memory", FAIL, f"{said}: close other programs, or allow fewer cores (taskset).")


def available() -> float | None:
    """Bytes of memory that programs can still get; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024.0 * int(found[0]) if found else None


def clock() -> Finding:
    """It is not before what is already there: the newest commit, the newest file of the package."""
    committed = git("log", "-1", "--format=%ct") if (CHECKOUT / ".git").exists() else ""
    newest = max(path.stat().st_mtime for path in PACKAGE.glob("*.py"))
    latest = max(newest, float(committed or 0))
    now = time.time()
    if now >= latest - _DAY:
        return Finding("clock", OK, time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now)))
    return Finding(
        "clock", NOTE,
        f"{time.strftime('%Y-%m-%d', time.gmtime(now))} is before the newest commit or file: set "
        "it; results do not depend on it, dates in their records do.",
    )  # fmt: skip


def gpu() -> Finding:
    """Whether torch sees one."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding("GPU", OK, ", ".join(names))
    return Finding("GPU", NOTE, "none that torch sees: smoke and cpu do without, paper needs one.")


def power() -> Finding:
    """Whether energy can be measured here, or is estimated."""
    domains = sorted(RAPL.glob("intel-rapl:*/energy_uj"))
    if any(os.access(path, os.R_OK) for path in domains):
        return Finding("power counter", OK, f"RAPL, {len(domains)} domains, readable")
    if domains:
        return Finding(
            "power counter", NOTE,
            "RAPL is there, and only root may read it: sudo chmod -R a+r "
            f"{RAPL}/intel-rapl, or energy is an estimate, and called so.",
        )  # fmt: skip
    if _nvml():
        return Finding("power counter", OK, "NVML for the GPU; none for the processor")
    return Finding("power counter", NOTE, "none: energy is an estimate here, and called so.")


def _nvml() -> bool:
    try:
        command = ["nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and "W" in answer.stdout


CHECKS = (python, cores, memory, clock, gpu, power)
