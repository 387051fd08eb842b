"""What it costs that sites differ: what is compared, what is measured, what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from fedbench.config import PartitionConfig
from fedbench.report import (
    gains_caption,
    gains_figure,
    heterogeneity,
    heterogeneity_caption,
    heterogeneity_figure,
    measures_caption,
    say_heterogeneity,
    sites_caption,
    sites_figure,
    spread_caption,
    spread_figure,
    stats,
)
from fedbench.report.cells import alike, cells, holders
from fedbench.report.heterogeneity import MEASURES
from fedbench.report.scores import SPREAD, score_of
from tests.unit.report.conftest import SITES
from tests.unit.report.test_tables import pick

SEEDS = (0, 1, 2)
#: every way of dealing with how skilled a federation is on it, and how far answers differ
DEALT = {
    PartitionConfig(sites=SITES): (0.75, 0.02),
    PartitionConfig(sites=2): (0.8, 0.01),
    PartitionConfig(kind="dirichlet", alpha=0.3, sites=SITES): (0.7, 0.1),
    PartitionConfig(kind="dirichlet", alpha=0.05, sites=SITES): (0.55, 0.2),
    PartitionConfig(kind="label", alpha=0.1, sites=SITES): (0.5, 0.6),
    PartitionConfig(sites=SITES, noise=0.4): (0.6, 0.03),
}


def with_spreads(run, *spreads):
    """The same run with what its rounds say of their updates, in order and then over again."""
    spread = [spreads[number % len(spreads)] for number in range(len(run.rounds))]
    rounds = [{**r, "update_spread": s} for r, s in zip(run.rounds, spread, strict=True)]
    object.__setattr__(run, "rounds", rounds)
    return run


@pytest.fixture
def make(save, config):
    def grid(dealt=DEALT, settings=("local", "federated", "centralized"), **values):
        runs = []
        for seed in SEEDS:
            if "centralized" in settings:
                for pooled in {partition.seen_by("centralized") for partition in dealt}:
                    asked = config("centralized", seed, **values)
                    asked = asked.model_copy(update={"partition": pooled})
                    runs.append(save(asked, skill=0.9))
            for partition, (skill, divergence) in dealt.items():
                measures = dict(zip(MEASURES, (divergence, divergence / 2, 0.1), strict=True))
                for setting in ("local", "federated"):
                    if setting in settings:
                        asked = config(setting, seed, partition=partition, **values)
                        ability = skill if setting == "federated" else 0.4
                        run = save(asked, skill=ability, heterogeneity=measures)
                        runs.append(with_spreads(run, 0.2 + divergence, None, divergence))
        return runs

    return grid


def test_a_row_per_partition_and_metric_compares_three_settings_on_the_same_items(make):
    runs = make()
    frame = heterogeneity(runs)
    assert len(frame) == 4 * len(DEALT)
    found = cells(runs)
    where = holders(found)
    for metric, part in frame.groupby("metric"):
        assert part["partition"].is_unique
        for row in part.to_dict("records"):
            one = [c for c in found if c.partition == row["partition"] and not c.pooled]
            together = next(c for c in one if c.config.setting == "federated")
            alone = next(c for c in one if c.config.setting == "local")
            pools = [c for c in found if c.config.setting == "centralized"]
            (pool,) = [c for c in pools if alike(c, together)]
            dealt = together.config.partition
            for setting, cell in (("local", alone), ("centralized", pool)):
                scores = [score_of(c, metric, dealt, where) for c in (together, cell)]
                found_gain = stats.interval(stats.minus(*scores))
                assert row[setting] == pytest.approx(scores[1].mean)
                if metric == SPREAD:  # more of it is no gain
                    assert np.isnan(row[f"gain_over_{setting}"])
                    continue
                assert row[f"gain_over_{setting}"] == pytest.approx(scores[0].mean - scores[1].mean)
                assert row[f"gain_over_{setting}_low"] == pytest.approx(found_gain.low)


def test_p_values_are_adjusted_over_partitions(make):
    dealt = dict(list(DEALT.items())[:3])
    runs = make(dealt)
    by_itself = [
        pick(heterogeneity(r for r in runs if r.config.partition == one), metric="accuracy")
        for one in dealt
    ]
    raw = [float(frame["p_over_local"].iloc[0]) for frame in by_itself]
    together = pick(heterogeneity(runs), metric="accuracy")["p_over_local"]
    exact = {"rel": 1e-9, "abs": 0}
    assert sorted(together) == pytest.approx(sorted(stats.holm(raw)), **exact)
    assert sorted(together) != pytest.approx(sorted(raw), **exact)


def test_measures_are_means_over_seeds_and_update_spread_over_rounds_that_know_it(make):
    row = pick(heterogeneity(make()), partition="label-0.1", metric="accuracy").iloc[0]
    assert row["label_divergence"] == pytest.approx(0.6)
    assert row["topic_divergence"] == pytest.approx(0.3)
    assert row["update_spread_first"] == pytest.approx(0.8)
    # rounds: 0.8, none, 0.6, 0.8
    assert row["update_spread"] == pytest.approx((0.8 + 0.6 + 0.8) / 3)


def test_older_runs_recorded_no_measures_and_are_said_not_to(save, config):
    runs = [save(config(setting, seed)) for setting in ("local", "federated") for seed in SEEDS]
    frame = heterogeneity(runs)
    assert frame[[*MEASURES, "update_spread"]].isna().all(axis=None)
    assert frame["federated"].notna().all()
    assert "is not recorded" in say_heterogeneity(frame)
    assert "not recorded of 1 partitions" in measures_caption(frame)
    assert "not recorded" in spread_caption(frame)
    for figure in (heterogeneity_figure(frame), spread_figure(frame)):
        assert "not recorded" in figure.axes[0].texts[0].get_text()


def test_other_optimizers_and_rules_are_not_mixed_in(make):
    whole = heterogeneity(make())
    more = make() + make(settings=("federated",), optimizer="sgd") + make(
        settings=("federated",), rule="fedadam"
    )  # fmt: skip
    # Of SGD there is nothing to compare the federation with.
    assert heterogeneity(more).equals(whole)


def test_a_setting_that_was_not_run_is_said_not_to_be(make):
    frame = heterogeneity(make(settings=("local", "federated")))
    gained = frame[frame["metric"] != SPREAD]
    assert set(gained["over_centralized"]) == {"centralized not run"}
    assert len(gains_figure(frame).axes) == 1
    assert "centralized;" not in gains_caption(frame)
    assert "centralized not run" in say_heterogeneity(frame)


def test_the_spread_over_sites_is_the_standard_deviation_of_their_own_accuracies(make):
    runs = make()
    row = pick(heterogeneity(runs), partition="dirichlet-0.3", metric=SPREAD).iloc[0]
    found = []
    for run in runs:
        if run.config.setting == "federated" and run.config.partition.alpha == 0.3:
            right = run.items["prediction"] == run.items["gold"]
            found.append(np.std(right.groupby(run.items["site"]).mean()))
    assert row["federated"] == pytest.approx(np.mean(found))


def test_what_is_said_counts_partitions_on_which_a_difference_is_shown(make):
    frame = heterogeneity(make())
    scored, said = pick(frame, metric="accuracy"), say_heterogeneity(frame)
    common = next(line for line in said.splitlines() if "common test items" in line)
    above = int((scored["gain_over_local_low"] > 0)[scored["p_over_local"] < 0.05].sum())
    below = int(
        (scored["gain_over_centralized_high"] < 0)[scored["p_over_centralized"] < 0.05].sum()
    )
    assert above
    assert below
    assert f"of 6 partitions federated is shown above local on {above} and below on 0" in common
    assert f"shown above centralized on 0 and below on {below}" in common
    assert "rank correlation with the divergence of labels" in said


def test_nothing_run_is_said_and_drawn_as_such():
    frame = heterogeneity([])
    assert say_heterogeneity(frame) == "FedAvg was not run beside another setting."
    for caption in (heterogeneity_caption, sites_caption, gains_caption, measures_caption):
        assert "not run" in caption(frame)
    for draw in (heterogeneity_figure, sites_figure, spread_figure, gains_figure):
        assert "not run" in draw(frame).axes[0].texts[0].get_text()


def test_accuracy_is_drawn_against_what_was_measured_by_topic_and_by_answer(make):
    figure = heterogeneity_figure(heterogeneity(make()))
    assert len(figure.axes) == 3 * 2
    titles = [ax.get_title(loc="left").split("\n")[0] for ax in figure.axes[:2]]
    assert titles == ["by topic", "by answer"]
    by_topic = figure.axes[0].containers[1].lines[0]  # local, federated, centralized
    assert list(by_topic.get_xdata()) == pytest.approx([0.01, 0.05, 0.1])


def test_accuracy_is_drawn_against_the_number_of_sites(make):
    figure = sites_figure(heterogeneity(make()))
    assert len(figure.axes) == 3
    assert list(figure.axes[0].containers[0].lines[0].get_xdata()) == [2, SITES]
    labels = [text.get_text() for text in figure.axes[-1].get_xticklabels()]
    assert labels == ["2", str(SITES)]


def test_every_partition_is_a_named_point_beside_the_others(make):
    (ax,) = spread_figure(heterogeneity(make())).axes
    names = [text.get_text() for text in ax.texts]
    assert len(names) == len(DEALT) - 1
    assert {"label-0.1", "iid+noise-0.4", "iid, 4 sites"} <= {*names}
    heights = [text.xyann[1] for text in ax.texts]
    assert len({round(height, 6) for height in heights}) == len(names)


def test_spread_and_divergence_go_together_only_among_partitions_with_as_many_sites(make):
    """Both rise with the number of sites; with many others in it, theirs would be told."""
    more = {PartitionConfig(sites=count): (0.7, 0.9 - 0.1 * count) for count in (2, 3)}
    frame = heterogeneity(make(DEALT | more))
    alike = frame[frame["sites"] == SITES].drop_duplicates("partition")
    ranks = [alike[name].rank() for name in ("label_divergence", "update_spread")]
    said = say_heterogeneity(frame)
    assert f"over these {len(alike)} partitions their rank" in said
    assert f"labels is {ranks[0].corr(ranks[1]):+.2f}" in said
    assert len(spread_figure(frame).axes[0].texts) == len(alike)
    caption = spread_caption(frame)
    assert f"on the {len(alike)} partitions into {SITES} sites" in caption
    assert "diverge by chance" in caption


def test_federations_without_one_of_their_sites_are_no_partition(make, save, config):
    runs = make()
    fewer = [
        save(config("federated", seed, partition=PartitionConfig(sites=SITES, without=1)))
        for seed in SEEDS
    ]
    assert heterogeneity([*runs, *fewer]).equals(heterogeneity(runs))


def test_more_spread_between_sites_is_not_called_a_gain(make):
    rows = pick(heterogeneity(make()), metric=SPREAD)
    assert rows["federated"].notna().all()
    for other in ("local", "centralized"):
        assert rows[[f"gain_over_{other}", f"p_over_{other}"]].isna().all(axis=None)
        assert set(rows[f"over_{other}"]) == {""}


def test_sites_too_small_to_train_are_told_with_the_share_that_is_left(make, too_small):
    part = PartitionConfig(kind="dirichlet", alpha=0.05, sites=SITES)
    dealt = {one: DEALT[one] for one in (PartitionConfig(sites=SITES), part)}
    frame = heterogeneity(make(dealt))
    assert "All sites (4) train and are scored" in gains_caption(frame)
    assert "too small" not in say_heterogeneity(frame)
    assert (frame["n_train_all"] > 0).all()
    runs = [
        too_small(run, "site-00") if run.config.partition == part else run for run in make(dealt)
    ]
    small = heterogeneity(runs)
    row = pick(small, partition="dirichlet-0.05", metric="accuracy").iloc[0]
    assert (row["sites"], row["sites_trained"]) == (SITES, SITES - 1)
    share = f"{100 * row['n_train'] / row['n_train_all']:.1f} % of the examples"
    assert f"on dirichlet-0.05 3 of 4 sites with {share}" in say_heterogeneity(small)
    assert "on 1 of 2 partitions 75 % of sites train" in gains_caption(small)
    assert "on 1 of 2 partitions 75 % of sites train" in heterogeneity_caption(small)


def test_gains_on_every_partition_are_drawn_beside_zero_and_filled_where_shown(make):
    frame = heterogeneity(make())
    figure = gains_figure(frame)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == list(frame["partition"].unique())
    assert "iid+noise-0.4" in labels
    for ax, other in zip(figure.axes, ("local", "centralized"), strict=True):
        assert ax.get_title(loc="left") == f"over {other}"
        rows = frame[frame[f"gain_over_{other}"].notna()].to_dict("records")
        points = [bar.lines[0] for bar in ax.containers]
        assert len(points) == 3 * len(DEALT)
        for row, point in zip(rows, points, strict=True):
            assert point.get_xdata()[0] == pytest.approx(100 * row[f"gain_over_{other}"])
            shown = row[f"over_{other}"] in (f"above {other}", f"below {other}")
            assert (point.get_markerfacecolor() != "white") == shown


def test_captions_of_gains_and_measures_tell_what_their_numbers_are_of(make):
    frame = heterogeneity(make())
    assert f"{len(DEALT)} for local, {len(DEALT)} for centralized" in gains_caption(frame)
    assert "3 seeds" in gains_caption(frame)
    assert f"on {len(DEALT)} partitions, mean over 3 seeds" in measures_caption(frame)
    said = say_heterogeneity(frame)
    assert f"the extremes of {len(DEALT)}; their intervals are not adjusted" in said
