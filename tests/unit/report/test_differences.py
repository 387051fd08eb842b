"""Paired differences: what is compared with what, and what each could have shown."""

from __future__ import annotations

import pytest

from fedbench import store
from fedbench.config import PartitionConfig
from fedbench.manifests import files_of, write_manifest
from fedbench.report import contrasts, main_results, stats
from tests.unit.report.test_tables import pick


def test_contrasts_are_differences_of_the_paired_means(runs):
    frame = pick(contrasts(runs), task="fpb", partition="iid", metric="accuracy")
    results = pick(main_results(runs), task="fpb", metric="accuracy")
    means = {
        row["setting"]: row["mean"]
        for row in results.to_dict("records")
        if row["partition"] in ("iid", "pooled")
    }
    difference = pick(frame, contrast="federated − local")["mean"].item()

    assert difference == pytest.approx(means["federated"] - means["local"])


def test_every_contrast_says_what_it_could_have_shown(runs):
    frame = contrasts(runs)

    assert set(frame["contrast"]) == {
        "federated − local",
        "federated − centralized",
        "centralized − base",
    }
    assert (frame["smallest_difference"] > 0).all()
    assert set(pick(frame, contrast="federated − local")["metric"]) == {"accuracy", "accuracy_own"}


def test_methods_are_compared_with_lora_where_all_else_is_alike(save, config):
    runs = [
        save(config("federated", seed, method=method), skill=skill)
        for method, skill in (("lora", 0.9), ("qlora", 0.9), ("ia3", 0.4))
        for seed in (0, 1, 2)
    ]
    frame = contrasts(runs).set_index("contrast")

    assert list(frame.index) == ["qlora − lora", "ia3 − lora"]
    assert list(frame["method"]) == list(frame.index)
    assert set(frame["setting"]) == {"federated"}
    assert list(frame["verdict"]) == ["no difference shown", "lora higher"]


@pytest.mark.parametrize(
    "other",
    [
        {"partition": PartitionConfig(kind="iid", sites=2)},
        {"backbone": "fedbench-qwen2"},
        {"train_limit": 64},
    ],
)
def test_methods_that_were_trained_otherwise_are_not_compared(save, config, other):
    runs = [save(config("federated")), save(config("federated", method="qlora", **other))]

    assert contrasts(runs).empty


def test_untuned_methods_are_not_compared(save, config):
    assert contrasts([save(config("base")), save(config("base", method="ia3"))]).empty


def test_a_large_gain_is_told_from_none(save, config):
    runs = [save(config("federated", s), skill=0.9) for s in (0, 1, 2)]
    runs += [save(config("local", s), skill=0.4) for s in (0, 1, 2)]
    runs += [save(config("centralized", s), skill=0.9) for s in (0, 1, 2)]
    said = contrasts(runs).query("metric == 'accuracy'").set_index("contrast")["verdict"]

    assert said["federated − local"] == "federated higher"
    assert said["federated − centralized"] == "no difference shown"


@pytest.fixture
def independent(save, config):
    """A run whose items share nothing, each its own cluster."""

    def make(setting, seed=0):
        run = save(config(setting, seed))
        items = run.items.assign(cluster=run.items["item"])
        items.to_parquet(run.source / store.ITEMS, index=False)
        write_manifest(run.source, files_of(run.source))
        return run

    return make


def test_mcnemar_s_p_value_stands_within_each_seed_whose_items_share_nothing(independent):
    pairs = [(independent("federated", s), independent("centralized", s)) for s in (0, 1)]
    row = contrasts([run for pair in pairs for run in pair]).iloc[0]
    expected = [
        stats.mcnemar(*((run.items["prediction"] == run.items["gold"]).tolist() for run in pair))
        for pair in pairs
    ]

    assert [float(p) for p in row["mcnemar"].split()] == pytest.approx(expected, rel=1e-2)


def test_mcnemar_s_p_value_is_left_out_where_items_share_a_fact(save, config):
    runs = [
        save(config(setting, seed)) for setting in ("federated", "centralized") for seed in (0, 1)
    ]

    assert contrasts(runs)["mcnemar"].tolist() == [""]


@pytest.mark.parametrize("other", [{"rule": "flexlora"}, {"own_passes": 1}])
def test_the_federated_setting_is_fedavg_without_passes_of_the_sites_own(save, config, other):
    alone = [save(config("local")), save(config("centralized"))]
    assert contrasts([*alone, save(config("federated", **other))]).empty
    assert len(contrasts([*alone, save(config("federated"))])) == 3


def test_methods_are_compared_with_as_many_passes_of_the_sites_own(save, config):
    own = save(config("federated", method="qlora", own_passes=1))
    assert contrasts([own, save(config("federated"))]).empty
    assert len(contrasts([own, save(config("federated", own_passes=1))])) == 1
