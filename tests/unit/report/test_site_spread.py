"""How unequal a rule leaves sites, beside what chance would give."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fedbench.report import (
    rule_table,
    say_site_spread,
    site_spread,
    site_spread_caption,
    site_spread_figure,
    sites_by_rule,
    stats,
)
from fedbench.report.cells import cells, holders
from fedbench.report.scores import spread_of_sites
from tests.unit.report.conftest import SITES
from tests.unit.report.test_tables import pick

RULES = {"fedavg": 0.6, "flexlora": 0.95}
SEEDS = (0, 1, 2)


@pytest.fixture
def ruled(by_rule):
    return by_rule(RULES)


def test_a_site_is_scored_on_its_own_items(ruled):
    sites = sites_by_rule(ruled)
    assert len(sites) == len(RULES) * 2 * len(SEEDS) * SITES
    for run in ruled:
        rows = sites[sites["runs"] == run.id].set_index("site")
        for site, items in run.items.groupby("site"):
            assert rows["n_test"][site] == len(items)
            right = (items["prediction"] == items["gold"]).mean()
            assert rows["accuracy"][site] == pytest.approx(right)


def test_the_spread_is_taken_within_a_seed_and_has_an_interval_over_seeds(ruled):
    sites = sites_by_rule(ruled)
    row = pick(site_spread(sites), rule="fedavg", partition="iid").iloc[0]
    mine = pick(sites, rule="fedavg", partition="iid")
    table = mine.pivot_table(index="seed", columns="site", values="accuracy").to_numpy()
    ranges, deviations = table.max(axis=1) - table.min(axis=1), table.std(axis=1)
    assert row["range"] == pytest.approx(ranges.mean())
    assert row["sd"] == pytest.approx(deviations.mean())
    found = stats.seed_interval(deviations)
    assert (row["sd_low"], row["sd_high"]) == pytest.approx((max(0, found.low), found.high))
    assert (row["n_seeds"], row["n_sites"]) == (len(SEEDS), SITES)


def test_mean_and_worst_site_are_those_of_the_table_of_rules(ruled):
    found = site_spread(sites_by_rule(ruled)).set_index(["partition", "rule"])
    for metric, name in (("accuracy_own", "mean"), ("accuracy_worst", "worst")):
        table = pick(rule_table(ruled), metric=metric).set_index(["partition", "rule"])["mean"]
        assert found[name].to_numpy() == pytest.approx(table.loc[found.index].to_numpy())


def test_chance_alone_gives_the_deviation_that_is_said_of_it(ruled):
    """Where every item is right with the same probability, as here, averaged over many seeds."""
    random = np.random.default_rng(0)
    sites = pick(sites_by_rule(ruled), rule="fedavg", partition="iid")
    drawn = []
    for number in range(200):
        scores = random.binomial(40, 0.7, len(sites)) / 40
        drawn.append(sites.assign(seed=10 * number + sites["seed"], accuracy=scores))
    row = site_spread(pd.concat(drawn).assign(n_test=40)).iloc[0]
    assert row["sd_by_chance"] == pytest.approx(np.sqrt(3 / 4 * 0.7 * 0.3 / 40), rel=0.02)
    # A sample's deviation is below the root of its mean square: by 0.921 for four values.
    assert row["sd"] == pytest.approx(0.921 * row["sd_by_chance"], rel=0.05)


def test_a_single_seed_has_no_interval(ruled):
    row = site_spread(sites_by_rule(ruled[:1])).iloc[0]
    assert np.isnan(row["sd_low"])
    assert row["ci_kind"] == "none: one seed"


def test_the_figure_has_a_dot_per_site_and_seed_in_every_rules_line(ruled):
    sites = sites_by_rule(ruled)
    figure = site_spread_figure(sites)
    assert len(figure.axes) == 2
    for ax in figure.axes:
        assert [text.get_text() for text in ax.get_yticklabels()] == ["fedavg", "flexlora"]
        dots = [line for line in ax.lines if line.get_marker() == "o"]
        assert [len(line.get_xdata()) for line in dots] == [SITES * len(SEEDS)] * len(RULES)
    assert "3 seeds" in site_spread_caption(sites)


def test_words_keep_the_order_of_the_table_and_tell_each_interval_and_chance(ruled):
    found = site_spread(sites_by_rule(ruled))
    rows = pick(found, partition="iid")
    assert list(rows["rule"]) == ["fedavg", "flexlora"]
    mixed = found.assign(sd=[0.09, 0.01] * 2)  # the second is the more even one
    said = next(line for line in say_site_spread(mixed).splitlines() if ", iid:" in line)
    low, high = (100 * rows[name].iloc[0] for name in ("sd_low", "sd_high"))
    assert f"in points: fedavg 9.0 [{low:.1f}, {high:.1f}]" in said
    assert said.index("fedavg") < said.index("flexlora")
    assert "point estimates" in said
    assert "By chance alone" in said
    assert "[" not in say_site_spread(site_spread(sites_by_rule(ruled[:1])))


def test_the_deviation_over_sites_is_the_same_here_and_as_a_score(ruled):
    (cell,) = cells([run for run in ruled if run.config.rule == "fedavg"][:3])
    score = spread_of_sites(cell, cell.config.partition, holders([cell]))
    row = pick(site_spread(sites_by_rule(cell.runs)), rule="fedavg").iloc[0]
    assert row["sd"] == pytest.approx(score.mean)


def test_the_caption_tells_whose_adapters_are_the_sites_own_and_which_sites_are_scored(
    ruled, save, config, too_small
):
    assert "its own under" not in site_spread_caption(sites_by_rule(ruled))
    own = too_small(save(config("federated", rule="fedsa-lora")), "site-01")
    caption = site_spread_caption(sites_by_rule([*ruled, own]))
    assert "its own under fedsa-lora; the shared one otherwise" in caption
    assert f"of {SITES - 1} to {SITES} of {SITES} sites" in caption


def test_nothing_run_is_said():
    sites = sites_by_rule([])
    assert say_site_spread(site_spread(sites)) == "No rule was run."
    assert "not run" in site_spread_caption(sites)
    assert "not run" in site_spread_figure(sites).axes[0].texts[0].get_text()
