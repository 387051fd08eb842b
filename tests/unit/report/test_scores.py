from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedbench.config import PartitionConfig
from fedbench.metrics import macro_f1
from fedbench.report import scores
from fedbench.report.cells import POOLED, cells, holders

IID = PartitionConfig(kind="iid", sites=4)


def cell_of(found, setting, partition=None):
    return next(
        cell
        for cell in found
        if cell.config.setting == setting and partition in (None, cell.partition)
    )


def test_runs_that_differ_in_the_seed_alone_are_one_cell(save, config):
    found = cells([save(config("federated", seed)) for seed in (2, 0, 1)])

    assert [cell.seeds for cell in found] == [(0, 1, 2)]


def test_a_planned_configuration_without_run_is_an_empty_cell(save, config):
    run = save(config("federated", 0))
    found = cells([run], [config("federated", 0), config("federated", 1), config("local", 0)])

    assert cell_of(found, "federated").planned == 2
    assert cell_of(found, "local").runs == ()


def test_what_knows_no_sites_has_no_partition(save, config):
    assert cells([save(config("centralized"))])[0].partition == POOLED


def test_scores_are_those_that_runs_recorded(save, config):
    runs = [save(config(setting, seed)) for setting in ("local", "federated") for seed in (0, 1)]
    for cell in cells(runs):
        accuracy = np.mean([run.metrics["accuracy"] for run in cell.runs])
        f1 = np.mean([run.metrics["macro_f1"] for run in cell.runs])

        assert scores.mean_of(cell, "correct").mean == pytest.approx(accuracy)
        assert scores.macro_f1(cell).mean == pytest.approx(f1)


def test_a_model_that_answers_nothing_has_predicted_no_class(save, config, monkeypatch):
    run = save(config("federated"))
    items = run.counted
    predicted = np.where(np.arange(len(items)) % 3, items.numbers["prediction"], -1)
    silent = replace(items, numbers={**items.numbers, "prediction": predicted})
    monkeypatch.setattr("fedbench.store.Run.counted", silent)
    expected = macro_f1(items.numbers["gold"], predicted)

    assert scores.macro_f1(cells([run])[0]).mean == pytest.approx(expected)


def test_accuracy_per_seed_stays_per_seed(save, config):
    runs = [save(config("federated", seed)) for seed in (0, 1, 2)]
    per_seed = scores.mean_of(cells(runs)[0], "correct").per_seed

    assert per_seed.tolist() == pytest.approx([run.metrics["accuracy"] for run in runs])


def test_only_items_that_were_generated_count_as_valid_or_not(save, config):
    score = scores.mean_of(cells([save(config("federated"))])[0], "invalid")

    assert score.mean == 0.0
    assert score.independent == 10  # the 20 items asked belong to 10 facts


def test_a_local_model_answers_its_own_items_with_its_own_adapter(save, config):
    run = save(config("local"))
    found = cells([run])
    items = run.items
    own = items[items["adapter"] == items["site"]]
    expected = (own["gold"] == own["prediction"]).groupby(own["site"]).mean()

    assert scores.own_site(found[0], IID, holders(found)).mean == pytest.approx(expected.mean())
    worst = scores.own_site(found[0], IID, holders(found), worst=True)
    assert worst.mean == pytest.approx(expected.min())


def test_pooled_settings_are_scored_with_the_items_dealt_as_for_the_sites(save, config):
    federated, central = save(config("federated", 1)), save(config("centralized", 1))
    found = cells([federated, central])
    dealt = federated.items.set_index("item")["site"]
    items = central.items.assign(site=lambda frame: frame["item"].map(dealt))
    right = (items["gold"] == items["prediction"]).groupby(items["site"]).mean()
    score = scores.own_site(cell_of(found, "centralized"), IID, holders(found))

    assert score.mean == pytest.approx(right.mean())


def test_a_site_too_small_to_train_is_not_judged(save, config, too_small):
    run = too_small(save(config("federated")), "site-00")

    assert set(holders(cells([run]))["fpb", IID, 0].values()) == {
        "site-01",
        "site-02",
        "site-03",
    }


def test_the_worst_site_has_the_freedom_of_the_smallest_site(save, config):
    found = cells([save(config("federated"))])
    mean, worst = (scores.own_site(found[0], IID, holders(found), w) for w in (False, True))

    assert worst.independent < mean.independent


def test_partitions_of_one_kind_and_several_sizes_keep_their_own_holders_and_names(save, config):
    sizes = [PartitionConfig(kind="iid", sites=sites) for sites in (2, 4)]
    found = cells([save(config("federated", partition=one)) for one in sizes])
    where = holders(found)

    assert [cell.partition for cell in found] == ["iid, 2 sites", "iid, 4 sites"]
    assert where["fpb", sizes[0], 0] != where["fpb", sizes[1], 0]


def test_partitions_are_named_by_as_much_as_tells_them_apart(config):
    made = [PartitionConfig(kind="iid", sites=4, minimum=least) for least in (4, 9)]
    made.append(PartitionConfig(kind="dirichlet", alpha=0.3, sites=4))
    planned = [*(config("local", partition=one) for one in made), config("centralized")]

    assert {cell.partition for cell in cells([], planned)} == {
        *("pooled", "iid, 4 sites of at least 4", "iid, 4 sites of at least 9", "dirichlet-0.3"),
    }
