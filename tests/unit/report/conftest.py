"""Small synthetic runs with known scores, written to and read from a real store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fedbench import store
from fedbench.config import PartitionConfig, RunConfig
from fedbench.store import Run

ITEMS, SITES, ROUNDS = 120, 4, 4
TOPICS = ("cardiology", "dermatology", "neurology")
IID = PartitionConfig(kind="iid", sites=SITES)
SKEWED = PartitionConfig(kind="dirichlet", alpha=0.3, sites=SITES)
ALONE = PartitionConfig(kind="iid", sites=1)
SKILL = {"base": 0.25, "local": 0.45, "federated": 0.70, "centralized": 0.80}

TASKS: dict[str, dict[str, Any]] = {
    "lookalike_medqa": {"task_title": "MedQA look-alike", "domain": "health", "synthetic": True},
    "fpb": {
        "task_title": "Financial PhraseBank",
        "domain": "finance",
        "synthetic": False,
        "note": "Not comparable with published results: this split is ours.",
    },
}


def _items(config: RunConfig, adapters: Sequence[str], skill: float, choices: int) -> pd.DataFrame:
    generator = np.random.default_rng([config.seed, len(config.id), int(config.id[:6], 16)])
    gold = np.arange(ITEMS) % choices
    dealt = np.random.default_rng([config.seed, config.partition.sites]).integers(0, SITES, ITEMS)
    sites = ["all"] * ITEMS if len(adapters) and config.partition.sites == 1 else [
        f"site-{number:02d}" for number in dealt
    ]  # fmt: skip
    frames = []
    for adapter in adapters:
        right = generator.random(ITEMS) < skill
        wrong = (gold + generator.integers(1, choices, ITEMS)) % choices
        frame = pd.DataFrame({
            "adapter": adapter,
            "item": [f"item-{number}" for number in range(ITEMS)],
            "cluster": [f"fact-{number // 2}" for number in range(ITEMS)],
            "site": sites,
            "choices": choices,
            "gold": gold,
            "prediction": np.where(right, gold, wrong),
            "blind": generator.integers(0, choices, ITEMS),
            "majority": 0,
            "generated": pd.array([0 if i < 20 else None for i in range(ITEMS)], dtype="Int64"),
            "scores": [[0.0] * choices] * ITEMS,
        })  # fmt: skip
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _f1(part: pd.DataFrame) -> float:
    gold, guess = part["gold"], part["prediction"]
    found = [
        2 * ((gold == c) & (guess == c)).sum() / ((gold == c).sum() + (guess == c).sum())
        for c in gold.unique()
    ]
    return float(np.mean(found))


def _rounds(config: RunConfig, federations: Sequence[str], skill: float) -> list[dict[str, Any]]:
    return [
        {
            "federation": name,
            "round": number,
            "cohort": [f"site-{site:02d}" for site in range(SITES)] if name == "global" else [name],
            "train_loss": 1.0 / (number + 1),
            "validation_accuracy": 0.25
            + (skill - 0.25) * (number + 1) / ROUNDS
            + 0.02 * config.seed,
            "validation_loss": 1.0,
            "n_validation": 20,
            "steps": 10,
            "bytes_down": 40_000,
            "bytes_up": 40_000,
        }
        for name in federations
        for number in range(ROUNDS)
    ]


def _sites(config: RunConfig) -> list[dict[str, Any]]:
    generator = np.random.default_rng([config.seed, config.partition.sites])
    names = [f"site-{site:02d}" for site in range(config.partition.sites)]
    rows = []
    for name in names:
        counts = generator.dirichlet([config.partition.alpha or 50.0] * len(TOPICS)) * 100
        topics = {topic: int(count) for topic, count in zip(TOPICS, counts, strict=True)}
        size = sum(topics.values())
        row = {"site": name, "n_train": size, "n_validation": 5, "n_test": 30, "topics": topics}
        rows.append(row | {"trained": True})
    return rows


def save_run(config: RunConfig, skill: float | None = None, **metrics: Any) -> Run:
    """Write a run in which each item is right with probability ``skill``."""
    ability = SKILL[config.setting] if skill is None else skill
    local = config.setting == "local"
    adapters = [f"site-{site:02d}" for site in range(SITES)] if local else ["global"]
    federations = [] if config.setting == "base" else adapters
    items = _items(config, adapters, ability, 4 if "medqa" in config.task else 3)
    rounds = _rounds(config, federations, ability)
    scores = {
        "accuracy": float((items["prediction"] == items["gold"]).mean()),
        "macro_f1": float(np.mean([_f1(part) for _, part in items.groupby("adapter")])),
    }
    facts = {
        "split": "hash-60-10-30",
        "note": "",
        "scoring": "label",
        "labels": ["a", "b", "c"],
        "n_train": min(400, config.train_limit or 400),
        "n_validation": min(80, config.validation_limit or 80),
        "n_test": ITEMS,
        "steps": 10 * len(rounds),
        "examples": config.passes * sum(site["n_train"] for site in _sites(config)),
        "trainable_parameters": {"ia3": 4_000}.get(config.method, 120_000),
        "backbone_parameters": 2_400_000,
        "adapter_bytes": {"ia3": 16_000}.get(config.method, 480_000),
        "backbone_bytes": 9_600_000,
        "bytes_down": 40_000 * len(rounds),
        "bytes_up": 40_000 * len(rounds),
        "audit": {
            "rows": 1000, "distinct": 990, "removed_duplicates": 8, "dropped_conflicts": 2,
            "splits": {"train": 400, "validation": 80, "test": ITEMS},
        },
    }  # fmt: skip
    origin = {
        "commit": "0123456789abcdef",
        "dirty": False,
        "command": "python -m fedbench grid",
        "versions": {"torch": "2.9.0"},
        "hardware": "x86_64, 2 cores",
    }
    known = TASKS[config.task]
    return store.save(
        store.folder(config.id),
        config,
        {**facts, **known, **scores, **metrics},
        rounds,
        _sites(config),
        origin,
        items,
    )


def shrink(run: Run, *names: str) -> Run:
    """Make sites of a run too small to train."""
    sites = [{**site, "trained": site["site"] not in names} for site in run.sites]
    object.__setattr__(run, "sites", sites)
    return run


def make_config(setting: str, seed: int = 0, **values: Any) -> RunConfig:
    """A configuration as a profile would have it."""
    alone = setting in ("base", "centralized")
    partition = ALONE if alone else values.pop("partition", IID)
    values.pop("partition", None)
    given = {"task": "fpb", "rounds": ROUNDS, "compute": "plain"} | values
    return RunConfig(setting=setting, seed=seed, partition=partition, **given)  # type: ignore[arg-type]


def make_grid(
    tasks: Sequence[str] = ("fpb",),
    methods: Sequence[str] = ("lora",),
    seeds: Sequence[int] = (0, 1, 2),
    partitions: Sequence[PartitionConfig] = (IID, SKEWED),
) -> list[RunConfig]:
    """Every setting: base once, centralized per seed, the others per seed and partition."""
    made = []
    for task in tasks:
        for method in methods:
            common = {"task": task, "method": method}
            made.append(make_config("base", **common))
            for seed in seeds:
                made.append(make_config("centralized", seed, **common))
                made += [
                    make_config(setting, seed, partition=partition, **common)
                    for partition in partitions
                    for setting in ("local", "federated")
                ]
    return made


@pytest.fixture
def save() -> Callable[..., Run]:
    return save_run


@pytest.fixture
def too_small() -> Callable[..., Run]:
    return shrink


@pytest.fixture
def config() -> Callable[..., RunConfig]:
    return make_config


@pytest.fixture(autouse=True, scope="session")
def _nothing_moved() -> Iterator[None]:
    """Synthetic runs have no code behind them: by default it has not moved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fedbench.report.origin.moved", lambda run: "")
        yield


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two tasks, one method, all settings, two partitions, three seeds; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDBENCH_HOME", str(tmp_path_factory.mktemp("runs")))
        return [save_run(made) for made in make_grid(tasks=("lookalike_medqa", "fpb"))]


@pytest.fixture
def by_rule(save, config):
    """Federated runs of rules of given skill, on two partitions, with three seeds."""

    def of(skills):
        return [
            save(config("federated", seed, rule=rule, partition=partition), skill=skill)
            for rule, skill in skills.items()
            for partition in (IID, SKEWED)
            for seed in (0, 1, 2)
        ]

    return of
