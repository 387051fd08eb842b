"""What a site gains by joining: its own items, its own model."""

from __future__ import annotations

import pytest

from fedbench.report import joining, joining_caption, joining_figure, say_joining
from fedbench.report.joining import _of_site, _told
from tests.unit.report.conftest import IID, SITES
from tests.unit.report.test_tables import pick


def grid(save, config, skill):
    return [
        save(config(setting, seed, partition=IID), skill=skill[setting])
        for setting in ("base", "local", "federated")
        for seed in ([0] if setting == "base" else [0, 1])
    ]


@pytest.fixture
def sites(save, config):
    return grid(save, config, {"base": 0.3, "local": 0.3, "federated": 1.0})


def test_every_site_is_scored_on_its_own_items_with_its_own_model(sites):
    frame = joining(sites)
    assert len(frame) == 2 * SITES
    for run in (run for run in sites if run.config.setting == "local"):
        items = run.items
        for row in pick(frame, seed=run.config.seed).to_dict("records"):
            mine = items[(items["site"] == row["site"]) & (items["adapter"] == row["site"])]
            assert row["n_test"] == len(mine)
            assert row["local"] == pytest.approx((mine["prediction"] == mine["gold"]).mean())
            assert row["gain_over_local"] == pytest.approx(row["federated"] - row["local"])


def test_a_site_that_gains_much_is_shown_to_gain(sites):
    frame = joining(sites)
    assert (frame["federated"] == 1).all()
    assert set(frame["verdict"]) == {"gains"}
    assert "0 of them score lower than alone; 0 are shown to lose and 8 to gain" in say_joining(
        frame
    )


def test_a_site_that_would_do_better_alone_is_shown_to_lose(save, config):
    frame = joining(grid(save, config, {"base": 0.3, "local": 1.0, "federated": 0.3}))
    assert set(frame["verdict"]) == {"loses"}
    assert (frame["gain_over_local"] < 0).all()


def test_a_federation_under_another_optimizer_is_not_what_a_site_is_asked_to_join(
    sites, save, config
):
    plain = [save(config("federated", seed, optimizer="sgd"), skill=0.2) for seed in (0, 1)]
    assert joining([*sites, *plain]).equals(joining(sites))  # nobody trains alone under plain SGD


def test_without_local_runs_nothing_is_said_of_joining(sites):
    frame = joining([run for run in sites if run.config.setting != "local"])
    assert set(frame["verdict"]) == {"not run alone"}
    assert say_joining(frame) == "No site was run both alone and together."
    assert "not run" in joining_caption(frame)


def test_the_figure_draws_every_site_of_every_seed(sites):
    figure = joining_figure(joining(sites))
    (ax,) = figure.axes
    drawn = sum(len(line.get_xdata()) for line in ax.lines[:3])
    assert drawn == 2 * SITES


def test_nothing_is_said_of_joining_with_fewer_ranks_than_are_scored(save, config):
    """The shared adapter of full rank is scored, and a site of two ranks does not hold it."""
    ranked = IID.model_copy(update={"ranks": (16, 2)})
    runs = [save(config(setting, partition=ranked)) for setting in ("base", "local", "federated")]
    assert joining(runs).empty


@pytest.mark.parametrize(
    "other", [{"labels": "shuffled"}, {"train_limit": 64}, {"test_limit": 60}, {"max_tokens": 64}]
)
def test_a_site_is_not_compared_with_what_was_trained_or_asked_otherwise(save, config, other):
    runs = [save(config("federated")), save(config("local", **other))]
    assert set(joining(runs)["verdict"]) == {"not run alone"}


def test_it_is_told_how_many_sites_are_scored_and_what_they_hold(sites, too_small):
    frame = joining(sites)
    assert f"All {SITES} sites are scored" in say_joining(frame)
    for run in sites:
        too_small(run, "site-02")
    frame = joining(sites)
    assert "site-02" not in set(frame["site"])
    assert set(frame["sites_trained"]) == {SITES - 1}
    used = frame.groupby("runs")["n_train"].sum()
    assert (frame.groupby("runs")["n_train_used"].first() == used).all()
    for told in (say_joining(frame), joining_caption(frame)):
        assert f"those of {SITES - 1} of {SITES} sites, which hold" in told


def test_the_caption_names_the_rules_that_leave_a_site_an_adapter_of_its_own(sites, save, config):
    assert "its own under" not in joining_caption(joining(sites))
    own = [save(config("federated", seed, rule="fedsa-lora")) for seed in (0, 1)]
    assert "(its own under fedsa-lora;" in joining_caption(joining([*sites, *own]))


def test_a_gain_that_hangs_on_a_few_clusters_is_not_shown_whatever_mcnemar_says():
    right = {"federated": {str(n): True for n in range(20)},
             "local": {str(n): n >= 10 for n in range(20)}}  # fmt: skip
    apart = {str(n): str(n) for n in range(20)}
    together = {str(n): "one" if n < 10 else "other" for n in range(20)}
    for clusters, verdict in ((apart, "gains"), (together, "no difference shown")):
        row = _of_site(right, clusters)
        assert row["mcnemar"] < 0.05
        assert _told(row, row["mcnemar"])["verdict"] == verdict
