"""The energy suite: few runs, repeated, one after the other, with the machine to themselves.

Each repeat of a method is a process of its own, so that loading counts and memory starts empty.
A repeat that is interrupted is measured again from its beginning: energy that was used before a
kill is in no meter, so a resumed run would look cheaper than it was.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fedbench import profiles
from fedbench.config import TRAINED, RunConfig, parse_config
from fedbench.energy.ledger import Ledger
from fedbench.energy.memory import peak_bytes, reset_peak
from fedbench.energy.meters import MEASURED, CodeCarbonMeter, Meter
from fedbench.errors import FedbenchError
from fedbench.files import machine_alone, read_json, write_json
from fedbench.freshness import ROOT
from fedbench.hashing import sha256_json, short
from fedbench.paths import CHECKOUT, fresh_home, home
from fedbench.phases import observed
from fedbench.profiles import EnergySpec
from fedbench.provenance import fingerprint, provenance
from fedbench.resolving import resolve

_IDLE_SECONDS = 5.0
NOT_MEASURED = "not measured"

Measurement = dict[str, Any]


def measure(profile: str) -> dict[str, Any]:
    """Measure what is missing of the profile's suite; return all of it, and keep it.

    Raises:
        FedbenchError: the profile has no suite, something else of ours runs on this machine, or a
            run failed; repeats that were finished stay.
    """
    spec = _spec(profile)
    path = where(profile)
    kept = _kept(path, _key(profile, spec))
    waiting = [
        (method, repeat)
        for repeat in range(spec.repeats)
        for method in spec.methods
        if not any((one["method"], one["repeat"]) == (method, repeat) for one in kept)
    ]
    if waiting:
        with machine_alone():
            for method, repeat in tqdm(waiting, desc="energy", unit="repeat"):
                found = _in_own_process(_configs(profile, spec, method), spec.country)
                kept += [one | {"method": method, "repeat": repeat} for one in found]
                write_json(path, _record(profile, spec, kept))
    return dict(read_json(path))


def found(profile: str) -> dict[str, Any] | None:
    """What has been measured of the profile's suite: here, else as the repository keeps it.

    ``moved`` in it says whether code or suite are others by now.
    """
    spec = profiles.read_spec(profile).energy
    if spec is None:
        return None
    for path in (where(profile), recorded(profile)):
        if path.exists():
            content = read_json(path)
            return {**content, "moved": content["key"] != _key(profile, spec)}
    return None


def recorded(profile: str) -> Path:
    """Where the repository keeps the profile's measurements."""
    return CHECKOUT / "data" / "recorded" / profiles.short_name(profile) / "energy.json"


def where(profile: str) -> Path:
    """The file that keeps the profile's measurements."""
    return home() / "energy" / f"{profiles.short_name(profile)}.json"


def _spec(profile: str) -> EnergySpec:
    spec = profiles.read_spec(profile).energy
    if spec is None:
        raise FedbenchError(f"The profile {profile} has no energy suite: give its file one.")
    return spec


def _key(profile: str, spec: EnergySpec) -> str:
    """Hash of what was asked and of the code that answers: another one starts anew."""
    asked = [config.id for method in spec.methods for config in _configs(profile, spec, method)]
    return short(sha256_json([asked, spec.country, fingerprint(ROOT)]))


def _kept(path: Path, key: str) -> list[Measurement]:
    if not path.exists():
        return []
    content = read_json(path)
    return list(content["measurements"]) if content.get("key") == key else []


def _record(profile: str, spec: EnergySpec, kept: Sequence[Measurement]) -> dict[str, Any]:
    return {
        "key": _key(profile, spec),
        "spec": spec.model_dump(mode="json"),
        "measurements": list(kept),
        "provenance": provenance(ROOT),
    }


def _configs(profile: str, spec: EnergySpec, method: str) -> list[RunConfig]:
    """One run per trained setting, all on the same number of tokens."""
    read = profiles.read_spec(profile)
    return [
        resolve(
            parse_config(
                {
                    **read.common,
                    **spec.common,
                    "task": spec.task,
                    "backbone": spec.backbone,
                    "method": method,
                    "setting": setting,
                    "partition": read.partitions[0].model_dump(),
                }
            )
        )
        for setting in TRAINED
    ]


def _in_own_process(configs: Sequence[RunConfig], country: str) -> list[Measurement]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_measure_here, configs, country).result()


def _measure_here(configs: Sequence[RunConfig], country: str) -> list[Measurement]:
    """In a fresh process: every run in a temporary home, under one meter."""
    meter = CodeCarbonMeter(country)
    idle = idle_watts(meter)
    return [one | {"idle_watts": idle} for one in measure_runs(configs, meter)]


def measure_runs(configs: Sequence[RunConfig], meter: Meter) -> Iterator[Measurement]:
    """Do each run under ``meter`` and yield what it took."""
    from fedbench.running import run

    for config in configs:
        with fresh_home():
            reset_peak()
            ledger = Ledger(meter)
            started = time.perf_counter()
            with observed(ledger.phase), ledger.phase("other"):
                done = run(config)
            factor, source = meter.grid_factor()
            yield {
                "config": config.model_dump(mode="json"),
                "wall_seconds": time.perf_counter() - started,
                "peak_memory_bytes": peak_bytes(config.device),
                "tokens": done.metrics["tokens"],
                "items": len(done.items) + sum(record["n_validation"] for record in done.rounds),
                "bytes_down": done.metrics["bytes_down"],
                "bytes_up": done.metrics["bytes_up"],
                "adapter_bytes": done.metrics["adapter_bytes"],
                "accuracy": done.metrics["accuracy"],
                "validation": _curve(done.rounds),
                "grid_g_per_kwh": factor,
                "grid_source": source,
                **ledger.report(),
            }


def _curve(rounds: Sequence[Mapping[str, Any]]) -> list[float]:
    """Validation accuracy after each round, over the items of all federations."""
    curve = []
    for number in sorted({record["round"] for record in rounds}):
        same = [r for r in rounds if r["round"] == number and r["n_validation"]]
        right = sum(r["validation_accuracy"] * r["n_validation"] for r in same)
        curve.append(right / sum(r["n_validation"] for r in same))
    return curve


def idle_watts(meter: Meter, seconds: float = _IDLE_SECONDS) -> float | str:
    """Power of the machine doing nothing, where a counter says so; an estimate would be a guess."""
    if not meter.how().get("cpu", "").startswith(MEASURED):
        return NOT_MEASURED
    meter.start()
    time.sleep(seconds)
    return sum(meter.stop().values()) / seconds
