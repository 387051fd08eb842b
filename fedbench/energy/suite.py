"""The energy suite: few runs, repeated, one after the other, with the machine to themselves.

Every run (method, setting, repeat) is a process of its own: each loads its backbone, and none
begins with what another left in memory. Peak memory still counts the libraries that every run
imports. A run that is interrupted is measured again from its beginning: energy that was used before
a kill is in no meter, so a resumed run would look cheaper than it was.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fedbench import profiles
from fedbench.config import TRAINED, RunConfig, parse_config
from fedbench.energy.ledger import Ledger
from fedbench.energy.memory import Peaks
from fedbench.energy.meters import MEASURED, CodeCarbonMeter, Meter
from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json
from fedbench.freshness import code_of_all
from fedbench.hashing import sha256_json, short
from fedbench.locks import machine_alone
from fedbench.paths import CHECKOUT, fresh_home, home
from fedbench.phases import observed
from fedbench.profiles import Cell, EnergySpec
from fedbench.provenance import fingerprint, provenance
from fedbench.resolving import resolve

_IDLE_SECONDS = 5.0
NOT_MEASURED = "not measured"
#: what every run imports, some of it late
_PRELOADED = ["fedbench.running", "peft", "bitsandbytes", "transformers", "pandas", "codecarbon"]

Measurement = dict[str, Any]


def measure(profile: str) -> dict[str, Any]:
    """Measure what is missing of the profile's suite; return all of it, and keep it.

    Raises:
        FedbenchError: the profile has no suite, something else of ours runs on this machine, or a
            run failed; those that were finished stay.
    """
    spec = _spec(profile)
    path = where(profile)
    if _waiting(profile, spec, _kept(path, _key(profile, spec))):
        with machine_alone():
            kept = _kept(path, _key(profile, spec))  # again: another process may have measured
            for config, repeat in tqdm(_waiting(profile, spec, kept), desc="energy", unit="run"):
                found = _in_own_process(config, spec.country)
                kept.append(found | {"method": config.method, "repeat": repeat})
                write_json(path, _record(profile, spec, kept))
    return dict(read_json(path))


def _waiting(
    profile: str, spec: EnergySpec, kept: Sequence[Measurement]
) -> list[tuple[RunConfig, int]]:
    """Runs that were not measured yet, with the number of the repeat."""
    done = {(one["method"], one["config"]["setting"], one["repeat"]) for one in kept}
    return [
        (config, repeat)
        for repeat in range(spec.repeats)
        for config in _configs(profile, spec)
        if (config.method, config.setting, repeat) not in done
    ]


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


def keep(profile: str) -> Path | None:
    """Let the repository keep what this machine measured of the profile; None if that is nothing.

    Where it was measured more than once, the repository has the last.
    """
    if not where(profile).exists():
        return None
    write_json(recorded(profile), read_json(where(profile)))
    return recorded(profile)


def _spec(profile: str) -> EnergySpec:
    spec = profiles.read_spec(profile).energy
    if spec is None:
        raise FedbenchError(f"The profile {profile} has no energy suite: give its file one.")
    return spec


def _key(profile: str, spec: EnergySpec) -> str:
    """Hash of what was asked and of the code that answers: another one starts anew.

    That code is what runs and what measures: this module imports both.
    """
    configs = _configs(profile, spec)
    asked = [config.id for config in configs]
    code = [fingerprint(__name__), code_of_all(configs)]
    return short(sha256_json([asked, spec.country, *code]))


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
        "provenance": provenance(fingerprint(__name__)),
    }


def _configs(profile: str, spec: EnergySpec) -> list[RunConfig]:
    """One run per method and trained setting, all on the same number of tokens.

    Learning rates are the tuned ones where the grid has the cell: energy to a target would
    otherwise tell of a bad rate, not of a method.
    """
    read = profiles.read_spec(profile)
    tuned = profiles.tuned_values(profile)
    configs = [
        resolve(
            parse_config(
                {
                    **read.common,
                    **spec.common,
                    **_rate(tuned, Cell(spec.task, spec.backbone, method), setting),
                    "task": spec.task,
                    "backbone": spec.backbone,
                    "method": method,
                    "setting": setting,
                    "partition": read.partitions[0].model_dump(),
                }
            )
        )
        for method in spec.methods
        for setting in TRAINED
    ]
    if any(config.compute == "nf4-dequantised" for config in configs):
        raise FedbenchError(
            f"The energy suite of {profile} asks for compute = nf4-dequantised, which says nothing "
            "of what QLoRA needs: leave compute out of the profile."
        )
    return configs


def _rate(tuned: Mapping[str, Any], cell: Cell, setting: str) -> dict[str, float]:
    return {"learning_rate": tuned[cell.key]["learning_rate"][setting]} if cell.key in tuned else {}


def _in_own_process(config: RunConfig, country: str) -> Measurement:
    # Forked from a server that has imported everything: a measurement begins with the run itself.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    try:
        with ProcessPoolExecutor(1, context) as pool:
            return pool.submit(_measure_here, config, country).result()
    except BrokenProcessPool:
        raise FedbenchError(
            f"The process that measured {config.method}, {config.setting} was killed, perhaps for "
            "memory: free some and start again; what was measured stays."
        ) from None


def _measure_here(config: RunConfig, country: str) -> Measurement:
    """In a fresh process: one run in a temporary home, under a meter."""
    meter = CodeCarbonMeter(country)
    idle = idle_watts(meter)
    return measure_run(config, meter) | {"idle_watts": idle}


def measure_run(config: RunConfig, meter: Meter) -> Measurement:
    """Do the run under ``meter``; what it took."""
    from fedbench.running import run

    with fresh_home():
        ledger = Ledger(meter)
        peaks = Peaks(ledger.phase, config.device)
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        started = time.perf_counter()
        with observed(peaks.phase), peaks.phase("other"):
            done = run(config, again=True)  # a run that the repository keeps takes nothing
        seconds = time.perf_counter() - started
        factor, source = meter.grid_factor()
        return {
            "config": config.model_dump(mode="json"),
            "started": began,
            "wall_seconds": seconds,
            "peak_memory_bytes": peaks.by_phase,
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
    """Validation accuracy after each round, over the items of all federations.

    Raises:
        FedbenchError: no site that trained holds a validation item.
    """
    curve = []
    for number in sorted({record["round"] for record in rounds}):
        same = [r for r in rounds if r["round"] == number and r["n_validation"]]
        if not same:
            raise FedbenchError(
                "No training site holds a validation item, so energy to a target has no meaning: "
                "raise validation_limit in the profile's energy section."
            )
        right = sum(r["validation_accuracy"] * r["n_validation"] for r in same)
        curve.append(right / sum(r["n_validation"] for r in same))
    return curve


def idle_watts(meter: Meter, seconds: float = _IDLE_SECONDS) -> float | str:
    """Power of what a counter watches, doing nothing; an estimate would be a guess."""
    counted = {name for name, how in meter.how().items() if how.startswith(MEASURED)}
    if not counted:
        return NOT_MEASURED
    meter.start()
    time.sleep(seconds)
    joules = meter.stop()
    return sum(joules[name] for name in counted) / seconds
