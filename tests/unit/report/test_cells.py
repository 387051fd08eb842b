"""Which cells are compared: those whose settings read the same examples, as far as each can."""

from __future__ import annotations

import pandas as pd
import pytest

from fedbench.report import joining
from fedbench.report.cells import POOLED, alike, beside, cells, counterpart, partition_names
from fedbench.report.differences import contrasts
from fedbench.report.tables import main_results, wide
from fedbench.resolving import resolve
from tests.unit.report.conftest import IID, make_config

NOISY = IID.model_copy(update={"noise": 0.4})
NOISIER = IID.model_copy(update={"noise": 0.8})
SPOKEN = IID.model_copy(update={"dialects": 4})
ALL = (IID, NOISY, NOISIER, SPOKEN)
SKILL = {IID: 0.9, NOISY: 0.7, NOISIER: 0.5, SPOKEN: 0.8}


def asked(setting, partition, seed=0):
    config = make_config("federated", seed, partition=partition)
    return resolve(config.model_copy(update={"setting": setting}))


@pytest.fixture
def grid(save):
    """Every setting on every partition, resolved, each run once; skill tells the partition."""
    found = {}
    for partition in ALL:
        for setting in ("base", "local", "federated", "centralized"):
            config = asked(setting, partition)
            if config.id not in found:
                lower = {"base": 0.4, "local": 0.2, "federated": 0.1, "centralized": 0.0}[setting]
                found[config.id] = save(config, skill=SKILL[partition] - lower)
    return list(found.values())


def of(found, setting, partition):
    wanted = partition.seen_by(setting)
    (cell,) = (c for c in found if (c.config.setting, c.config.partition) == (setting, wanted))
    return cell


def test_settings_of_one_site_are_repeated_where_their_examples_differ(grid):
    held = [(c.config.setting, c.partition) for c in cells(grid)]
    assert sorted(p for setting, p in held if setting == "base") == ["iid+dialects-4", POOLED]
    assert sorted(p for setting, p in held if setting == "centralized") == [
        "iid+dialects-4", "iid+noise-0.4", "iid+noise-0.8", POOLED,
    ]  # fmt: skip


def test_a_cell_is_compared_with_the_one_of_the_same_noise_and_wording(grid):
    found = cells(grid)
    for setting in ("local", "federated"):
        for partition in ALL:
            for other in ("base", "centralized"):
                matched = [
                    c.config.partition
                    for c in found
                    if c.config.setting == other and alike(of(found, setting, partition), c)
                ]
                assert matched == [partition.seen_by(other)]
    central, base = of(found, "centralized", NOISY), of(found, "base", NOISY)
    assert alike(central, base)
    assert not alike(of(found, "centralized", SPOKEN), base)
    assert not alike(of(found, "federated", IID), of(found, "local", NOISY))


def test_unequal_work_does_not_keep_a_federation_from_its_pooled_cells(save):
    slow = NOISY.model_copy(update={"slowest": 0.5, "minimum": 3})
    mine = [asked(s, slow) for s in ("federated", "centralized", "base")]
    federated, central, base = (cells([save(one)])[0] for one in mine)
    assert alike(federated, central)
    assert alike(federated, base)
    assert central.config.partition.slowest == 1
    assert base.partition == POOLED


def test_contrasts_pair_a_federation_with_its_own_references(grid):
    frame = contrasts(grid)
    rows = frame[(frame["contrast"] == "federated − centralized") & (frame["metric"] == "accuracy")]
    assert sorted(rows["partition"]) == sorted(partition.label for partition in ALL)
    by_id = {run.id: run.config for run in grid}
    for runs in rows["runs"]:
        left, right = (by_id[one] for one in runs.split())
        assert left.partition.seen_by("centralized") == right.partition


def test_joining_takes_the_base_of_the_same_wording(grid):
    frame = joining(grid)
    base = {run.config.partition: run for run in grid if run.config.setting == "base"}
    for partition in ALL:
        items = base[partition.seen_by("base")].items
        held = frame[frame["partition"] == partition.label]
        right = (items["prediction"] == items["gold"]).mean()
        found = (held["base"] * held["n_test"]).sum() / held["n_test"].sum()
        assert found == pytest.approx(right)


def test_a_table_has_one_row_of_each_setting_for_every_partition(grid):
    table = wide(main_results(grid))
    assert sorted(table["partition"]) == sorted(p.label for p in ALL)
    assert not table[["base", "local", "federated", "centralized"]].isin(["not run"]).any().any()
    assert table["centralized"].nunique() == len(ALL)


def test_a_clean_pooled_run_never_stands_in_for_a_rewritten_one():
    frame = pd.DataFrame(
        [("base", POOLED), ("centralized", POOLED), ("federated", "iid"),
         ("federated", "iid+noise-0.4"), ("federated", "iid+dialects-2")],
        columns=["setting", "partition"],
    )  # fmt: skip
    shown = {p: list(frame[beside(frame, p)]["setting"]) for p in frame["partition"].unique()}
    assert shown["iid"] == ["base", "centralized", "federated"]
    assert shown["iid+noise-0.4"] == ["base", "federated"]
    assert shown["iid+dialects-2"] == ["federated"]
    assert shown[POOLED] == ["base", "centralized"]


def test_a_base_that_is_asked_otherwise_for_each_seed_has_seeds(save):
    runs = [save(asked("base", SPOKEN, seed)) for seed in (0, 1)]
    (spoken,) = cells(runs)
    (plain,) = cells([save(asked("base", IID))])
    assert plain.seedless
    assert not spoken.seedless
    assert spoken.seeds == (0, 1)


def test_partitions_of_settings_of_one_site_do_not_name_others():
    told = partition_names([asked("base", SPOKEN), asked("federated", SPOKEN)])
    assert told == {SPOKEN: "iid+dialects-4"}


def test_the_counterpart_of_a_cell_differs_in_its_setting_alone(grid):
    found = cells(grid)
    for partition in ALL:
        for setting in ("local", "centralized", "base"):
            other = counterpart(of(found, "federated", partition), found, setting)
            assert other is of(found, setting, partition)


@pytest.mark.parametrize(
    ("other", "trained", "asked"),
    [
        ({"optimizer": "sgd"}, False, True),
        ({"train_limit": 64}, False, True),
        ({"test_limit": 64}, False, False),
        ({"labels": "shuffled"}, False, False),
        ({"max_tokens": 64}, False, False),
        ({"learning_rate": 0.1}, True, True),
        ({}, True, True),
    ],
)
def test_how_it_was_trained_matters_for_a_counterpart_that_was(save, other, trained, asked):
    """A learning rate is searched for in each setting, so that it may differ."""
    made = [resolve(make_config(s, **other)) for s in ("local", "base")]
    found = cells([save(one) for one in [make_config("federated"), *made]])
    (federated,) = (cell for cell in found if cell.config.setting == "federated")
    assert bool(counterpart(federated, found, "local")) == trained
    assert bool(counterpart(federated, found, "base")) == asked


def test_a_counterpart_that_was_only_planned_is_none(save):
    planned = make_config("local")
    found = cells([save(make_config("federated"))], [planned])
    (federated,) = (cell for cell in found if cell.runs)
    assert counterpart(federated, found, "local") is None
