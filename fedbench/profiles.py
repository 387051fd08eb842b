"""Profiles: a named grid of runs and its budget, as YAML in ``fedbench/profiles/``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from os.path import isfile
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator

from fedbench.config import (
    SETTINGS,
    PartitionConfig,
    RunConfig,
    Setting,
    parse_config,
)
from fedbench.errors import FedbenchError, shown
from fedbench.files import read_json, read_yaml
from fedbench.frozen import Frozen
from fedbench.hashing import sha256_json, short
from fedbench.paths import PACKAGE, profile_names, shipped
from fedbench.problems import describe, listed
from fedbench.resolving import resolve
from fedbench.tasks import check_name

TUNING = "tuning.json"
CELLS = "runs of single cells"  #: in a search, what cells ask for besides
FEDAVG = "fedavg"
ADAMW = "adamw"
_FOLDER = PACKAGE / "profiles"


class GridSpec(Frozen):
    """A block of the grid: every combination of its lists."""

    tasks: tuple[str, ...]
    backbones: tuple[str, ...]
    methods: tuple[str, ...]
    rules: tuple[str, ...] = (FEDAVG,)  #: any other than FedAvg is for the federated setting only
    seeds: tuple[int, ...]
    settings: tuple[Setting, ...] = SETTINGS
    #: of updates, for the federated setting only; empty: what ``common`` says, or fp32
    codecs: tuple[str, ...] = ()
    partitions: tuple[PartitionConfig, ...] = ()  #: empty: those of the profile
    passes: tuple[float, ...] = ()  #: that its search tries; empty: those of the profile's search
    learning_rates: tuple[float, ...] = ()  #: the same
    common: Mapping[str, Any] = {}


class TuningSpec(Frozen):
    """The search that every setting and method gets alike."""

    seeds: tuple[int, ...]  #: never reported
    learning_rates: tuple[float, ...]
    passes: tuple[float, ...]
    extensions: int = 1  #: how often a winning edge moves the grid outward
    common: Mapping[str, Any] = {}


class EnergySpec(Frozen):
    """The energy suite: one task, every method in the trained settings, fixed tokens, repeated."""

    task: str
    backbone: str
    methods: tuple[str, ...]
    repeats: int = 3
    country: str  #: three-letter ISO code: decides the CO2 factor of the grid, nothing else
    target: float  #: validation accuracy to which training energy is told
    common: Mapping[str, Any] = {}


class ProfileSpec(Frozen):
    """A profile as its file holds it."""

    title: str
    minutes: float  #: expected on two cores
    partitions: tuple[PartitionConfig, ...]
    common: Mapping[str, Any] = {}
    notebooks: str = "notebooks"  #: the folder of those that draw it, seen from the checkout
    grid: tuple[GridSpec, ...]
    tuning: TuningSpec | None = None
    tuned_by: str = ""  #: the profile whose search chose for this one, too, if not its own
    energy: EnergySpec | None = None

    @model_validator(mode="after")
    def _no_seed_that_chose_is_reported(self) -> Self:
        reported = {seed for grid in self.grid for seed in grid.seeds}
        if both := sorted(reported & {*(self.tuning.seeds if self.tuning else ())}):
            raise ValueError(
                f"tuning.seeds and grid seeds share {both[0]}: a seed that chose learning rates "
                "cannot be reported"
            )
        return self


@dataclass(frozen=True)
class Profile:
    """A profile with all its runs spelt out."""

    name: str
    title: str
    minutes: float
    runs: tuple[RunConfig, ...]


@dataclass(frozen=True)
class Cell:
    """What is tuned together: one backbone, method and optimizer on one task, under one rule."""

    task: str
    backbone: str
    method: str
    rule: str = FEDAVG
    optimizer: str = ADAMW

    @property
    def key(self) -> str:
        """Name in ``tuning.json``; what is usual, FedAvg and AdamW, is not named."""
        usual = {FEDAVG, ADAMW}
        about = (self.task, self.backbone, self.method)
        return " ".join([*about, *(n for n in (self.rule, self.optimizer) if n not in usual)])


def short_name(profile: str) -> str:
    """What folders are called after: the name, or that of one's own file."""
    return Path(profile).stem if profile.endswith(".yml") else profile


@lru_cache
def read_spec(name: str) -> ProfileSpec:
    """The profile's file, validated: ``name`` is a shipped one, or the path of one's own.

    Raises:
        FedbenchError: no such profile, or all problems of its file in one message.
    """
    own = name.endswith(".yml")
    path = Path(name) if own else _FOLDER / f"{name}.yml"
    if not isfile(path) or (not own and Path(name).name != name):
        known = ", ".join(profile_names())
        raise FedbenchError(
            f"There is no profile {shown(name)}: use one of {known}, or a .yml file."
        )
    values = read_yaml(path)
    try:
        return ProfileSpec.model_validate(values)
    except ValidationError:
        raise FedbenchError(f"{path.name}: {describe(values, ProfileSpec)}") from None


def load(name: str) -> Profile:
    """The profile with its tuned values filled in and every run resolved.

    Raises:
        FedbenchError: unknown profile, a bad file, or values that were never tuned: all that is
            wrong with any of its tasks and runs in one message.
    """
    spec = read_spec(name)
    tuned = tuned_values(spec.tuned_by or name)
    runs, told = dict[RunConfig, None](), dict[str, None]()
    for task in sorted({task for grid in spec.grid for task in grid.tasks}):
        with _noted(told):
            check_name(task)
    for cell, grid in cells(spec):
        with _noted(told):
            for values in _runs(spec, grid, cell, tuned):
                with _noted(told):
                    runs[resolve(parse_config(values))] = None
    if not runs and not told:
        told["its grid names no run: every list of it needs an entry"] = None
    if told:
        raise FedbenchError(f"{short_name(name)}: {listed([one.rstrip('.') for one in told])}.")
    return Profile(short_name(name), spec.title, spec.minutes, tuple(runs))


@contextmanager
def _noted(told: dict[str, None]) -> Iterator[None]:
    """What is wrong inside the block is told later, each problem once."""
    try:
        yield
    except FedbenchError as error:
        told[str(error)] = None


def cells(spec: ProfileSpec) -> Iterator[tuple[Cell, GridSpec]]:
    """Every cell of the grid with the block it stands in."""
    for grid in spec.grid:
        together = grid.model_copy(update={"settings": ("federated",)})
        optimizer = str({**spec.common, **grid.common}.get("optimizer", ADAMW))
        axes = (grid.tasks, grid.backbones, grid.methods, grid.rules)
        for task, backbone, method, rule in itertools.product(*axes):
            # What trains without a federation does not depend on its rule.
            cell = Cell(task, backbone, method, rule, optimizer)
            yield cell, grid if rule == FEDAVG else together


def searches(spec: ProfileSpec) -> dict[Cell, GridSpec]:
    """Every cell with the block that its search is for: the first, in the settings of all."""
    found: dict[Cell, GridSpec] = {}
    for cell, grid in cells(spec):
        first = found.setdefault(cell, grid)
        both = tuple(s for s in SETTINGS if s in {*first.settings, *grid.settings})
        found[cell] = first.model_copy(update={"settings": both})
    return found


def settings_of(
    spec: ProfileSpec, grid: GridSpec
) -> Iterator[tuple[Setting, PartitionConfig, int]]:
    """Settings with partition and seed; what a setting does not depend on is not repeated.

    The untuned backbone depends on a seed only where that deals the wordings of its test items. A
    site is left out of federations only.
    """
    every = grid.partitions or spec.partitions
    whole = tuple(partition for partition in every if partition.without is None)
    for setting in grid.settings:
        dealt = every if setting == "federated" else whole
        for partition in dict.fromkeys(one.seen_by(setting) for one in dealt):
            once = setting == "base" and not partition.rewrites(setting)
            for seed in grid.seeds[:1] if once else grid.seeds:
                yield setting, partition, seed


def tuned_values(name: str) -> Mapping[str, Any]:
    """What the search for a profile chose: by cell, passes and learning rates.

    Raises:
        FedbenchError: ``data/tuning.json`` is not what the search wrote.
    """
    values: Mapping[str, Any] = searched().get(name, {}).get("cells", {})
    return values


def search_moved(name: str) -> str:
    """Why the tuned values are not what today's file of the profile would search for, or empty."""
    if by := read_spec(name).tuned_by:
        return search_moved(by)
    spec, found = read_spec(name), searched().get(name)
    if found is None or spec.tuning is None:
        return ""
    then, today = {**found["search"]}, asked_of_search(spec)
    if CELLS in then:
        then[CELLS] = _of_values(then[CELLS])
    odd = sorted(field for field in today if field in then and then[field] != today[field])
    if not odd:
        return ""
    return (
        f"The learning rates of {name} were searched with other {', '.join(odd)} than its file "
        f"names now: make tune PROFILE={name} searches anew."
    )


def asked_of_search(spec: ProfileSpec) -> dict[str, Any]:
    """What a search depends on, as ``data/tuning.json`` keeps it, but for the code."""
    assert spec.tuning is not None
    runs = {"partition": spec.partitions[-1].label, "runs": dict(spec.common)}
    own = {cell.key: _asked_of(grid) for cell, grid in searches(spec).items()}
    return {**spec.tuning.model_dump(mode="json"), **runs, CELLS: _of_values(own)}


def _asked_of(grid: GridSpec) -> dict[str, Any]:
    rates = {"learning_rates": list(grid.learning_rates)} if grid.learning_rates else {}
    return {"passes": list(grid.passes), **rates, **grid.common}


def _of_values(own: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What single cells ask for, if anything, but for how their backbone multiplies.

    NF4 weights have the same values whether they are packed or not.
    """
    asked = {
        cell: {name: value for name, value in fields.items() if name != "compute"}
        for cell, fields in own.items()
    }
    return {cell: fields for cell, fields in asked.items() if fields != {"passes": []}}


def searched() -> dict[str, Any]:
    """The searches of ``data/tuning.json`` by profile: what was tried, and what was chosen.

    Raises:
        FedbenchError: the file is not what a search wrote.
    """
    content: dict[str, Any] = read_json(shipped(TUNING))
    if content and content.get("digest") != tuning_digest(content):
        raise FedbenchError(
            f"data/{TUNING} was changed by hand or damaged: restore it with git checkout."
        )
    return {name: part for name, part in content.items() if name != "digest"}


def tuning_digest(content: Mapping[str, Any]) -> str:
    """Hash of everything in ``data/tuning.json`` but the hash itself."""
    return short(sha256_json({key: part for key, part in content.items() if key != "digest"}))


def _runs(
    spec: ProfileSpec, grid: GridSpec, cell: Cell, tuned: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """What each run of a cell is described by."""
    for setting, partition, seed in settings_of(spec, grid):
        given = {**spec.common, **grid.common}
        coded = [{"codec": codec} for codec in grid.codecs if setting == "federated"]
        values = {
            **given,
            **_tuned(given, tuned, cell, setting),
            "task": cell.task,
            "backbone": cell.backbone,
            "method": cell.method,
            "rule": cell.rule,
            "setting": setting,
            "seed": seed,
            "partition": partition.model_dump(),
        }
        for codec in coded or [{}]:
            yield values | codec


def _tuned(
    given: Mapping[str, Any], tuned: Mapping[str, Any], cell: Cell, setting: Setting
) -> dict[str, Any]:
    """Passes and learning rate that the search chose, where it has been done."""
    if cell.key not in tuned:
        if "learning_rate" in given:
            return {}
        raise FedbenchError(
            f"data/{TUNING} has no values for {cell.key}, and the profile gives no learning_rate: "
            "run make tune with this profile first."
        )
    found = tuned[cell.key]
    # The base setting does not train: it gets any one rate, so that it stays one run.
    rates = found["learning_rate"]
    return {"passes": found["passes"], "learning_rate": rates.get(setting, min(rates.values()))}
