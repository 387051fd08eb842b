"""Controls of the machinery: look-alikes behave as they must, on generator seeds never tuned on.

Positive control: where facts are spread over sites, federated training must beat local training
and come close to centralized training. Negative control: with shuffled labels every setting stays
at chance. Dose control: with identically distributed sites and more wordings of every fact, the
gap between federated and local training must shrink. None of this is evidence about language
models.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from fedbench import profiles, store
from fedbench.config import PartitionConfig, RunConfig
from fedbench.errors import FedbenchError
from fedbench.files import read_yaml, write_bytes
from fedbench.grid import ensure_runs
from fedbench.paths import home
from fedbench.report import folder, stats
from fedbench.report.control_checks import AT_CHANCE, checks
from fedbench.report.origin import remarks
from fedbench.report.writing import numbers, provenance, write_origin
from fedbench.resolving import resolve
from fedbench.tasks.specfile import SPECS

if TYPE_CHECKING:
    import pandas as pd

#: Knobs that make a generator say every fact more often than it ships with.
PLENTY: Mapping[str, Mapping[str, int]] = {
    "pharmacopoeia": {"wordings": 8},
    "newswire": {"frames": 8, "repeats": 3},
}

#: Generator seeds on which nothing was chosen. Seeds 9001 to 9005, 9011 to 9015 and 9021 to 9025
#: were spent: what failed on them changed rounds and passes, the tuned values and these controls.
FRESH_SEEDS = (9031, 9032, 9033, 9034, 9035)

BACKBONE = "fedbench-llama"

#: Permutations of the labels. One can be lucky; and with three, the t interval over them, at the
#: level that many controls need, is several times wider than with six, and would show nothing.
PERMUTATIONS = 6


class Controls(NamedTuple):
    """The runs of one look-alike with one generator seed."""

    task: str
    seed: int
    spread: list[RunConfig]  #: facts spread over sites
    shuffled: list[RunConfig]
    plenty: list[RunConfig]  #: identically distributed sites, more wordings


def check_lookalikes(profile: str, seeds: Sequence[int]) -> pd.DataFrame:
    """Run all controls with the profile's tuned values; one row per requirement.

    Args:
        profile: where hyperparameters come from: its runs with LoRA on each look-alike.
        seeds: generator seeds; the first also gets the negative and the dose control.

    Raises:
        FedbenchError: the profile has no look-alike, or a run failed.
    """
    import pandas as pd

    planned = [
        _controls(profile, task, seed, full=seed == seeds[0])
        for task in _lookalikes(profile)
        for seed in seeds
    ]
    ensure_runs([c for p in planned for c in (*p.spread, *p.shuffled, *p.plenty)])
    family = sum(len({config.setting for config in one.shuffled}) for one in planned)
    return pd.DataFrame([row for one in planned for row in _rows(one, family)])


def _rows(controls: Controls, family: int) -> Iterator[dict[str, Any]]:
    spread, shuffled, plenty = map(_load, (controls.spread, controls.shuffled, controls.plenty))
    for check in checks(spread, shuffled, plenty, family):
        yield {"task": controls.task, "generator_seed": controls.seed, **check._asdict()}


def write_checks(found: pd.DataFrame, profile: str) -> Path:
    """Write the checks as CSV beside the profile's figures, the runs as JSON; return the CSV."""
    path = folder(f"figures/{profiles.short_name(profile)}") / "lookalike_controls.csv"
    ids = sorted({run_id for cell in found["runs"] for run_id in cell.split()})
    runs = [store.load(run_id) for run_id in ids]
    told = json.dumps(provenance(runs, " ".join([_caption(found), *remarks(runs)])))
    write_bytes(path, numbers(found))
    # A task is named by its file here: the folder before it is this machine's.
    write_origin(path.parent, path.stem, json.loads(told.replace(f"{_descriptions()}/", "")))
    return path


def _caption(found: pd.DataFrame) -> str:
    seeds = ", ".join(str(seed) for seed in found["generator_seed"].unique())
    family = found["requirement"].str.startswith(AT_CHANCE.partition("{}")[0]).sum()
    return (
        f"Controls of the look-alikes on generator seeds {seeds}: {found['passed'].sum()} of "
        f"{len(found)} requirements are met. Fractions, with the kind and level of each interval; "
        f"those of the {family} negative controls hold together at {100 * stats.LEVEL:.0f} % "
        "(Bonferroni)."
    )


def _lookalikes(profile: str) -> list[str]:
    runs = profiles.load(profile).runs
    mine = [c for c in runs if c.method == "lora" and c.backbone == BACKBONE]
    tasks = sorted({c.task for c in mine if c.task.startswith("lookalike")})
    if not tasks:
        raise FedbenchError(
            f"Profile {profile} runs no look-alike with LoRA on {BACKBONE}, so there is nothing to "
            "control: choose one that does, such as smoke."
        )
    return tasks


def _controls(profile: str, task: str, seed: int, full: bool) -> Controls:
    runs = profiles.load(profile).runs
    mine = [c for c in runs if (c.task, c.method, c.backbone) == (task, "lora", BACKBONE)]
    first = min(config.seed for config in mine)
    # The last partition of a profile is its most uneven one.
    uneven = [c for c in mine if c.partition.sites > 1][-1].partition
    kept = [
        c for c in mine if c.seed == first and (c.partition == uneven or c.partition.sites == 1)
    ]
    spread = [_with(c, task=_variant(task, seed)) for c in kept]
    shuffled = [
        _with(c, task=_variant(task, seed), labels="shuffled", seed=permutation)
        for c in kept
        if c.setting != "base"
        for permutation in range(first, first + PERMUTATIONS)
    ]
    even = PartitionConfig(kind="iid", sites=uneven.sites, minimum=uneven.minimum)
    plenty = [
        _with(c, task=_variant(task, seed, plenty=True), partition=even)
        for c in kept
        if c.setting in ("local", "federated")
    ]
    return Controls(task, seed, spread, shuffled if full else [], plenty if full else [])


def _with(config: RunConfig, **changes: Any) -> RunConfig:
    return resolve(config.model_copy(update=changes))


def _variant(task: str, seed: int, plenty: bool = False) -> str:
    """Write the look-alike's description with another generator seed; return its path."""
    spec = read_yaml(SPECS / f"{task}.yml")
    generator = spec["generator"]
    knobs: dict[str, Any] = {"seed": seed}
    if plenty:
        knobs |= PLENTY[generator["name"]]
    generator["knobs"] |= knobs
    path = _descriptions() / f"{task}-{seed}{'-plenty' if plenty else ''}.yml"
    write_bytes(path, yaml.safe_dump(spec, sort_keys=False, allow_unicode=True).encode())
    return str(path)


def _descriptions() -> Path:
    """Where look-alikes with other generator seeds are described."""
    return (home() / "controls").resolve()


def _load(configs: Sequence[RunConfig]) -> list[store.Run]:
    return [store.load(config.id) for config in configs]
