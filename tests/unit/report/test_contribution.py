"""What each site contributes: the federation of all less the one without it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from fedbench.report import (
    composition,
    contrasts,
    contribution,
    contribution_caption,
    contribution_figure,
    contribution_mean_caption,
    contribution_summary,
    convergence,
    joining,
    main_results,
    rule_table,
    say_contribution,
    stats,
)
from fedbench.report.origin import remarks
from tests.unit.report.conftest import IID, SITES, SKEWED
from tests.unit.report.test_tables import pick

SEEDS = (0, 1)
SKILL = {None: 0.9, 0: 0.2, 1: 0.9, 2: 0.9, 3: 1.0}  #: without which site


@pytest.fixture
def federations(save, config):
    def of(numbers=tuple(SKILL), seeds=SEEDS):
        partitions = [SKEWED.model_copy(update={"without": number}) for number in numbers]
        return [
            save(config("federated", seed, partition=partition), skill=SKILL[partition.without])
            for partition in partitions
            for seed in seeds
        ]

    return of


def _answers(run):
    return (run.items["prediction"] == run.items["gold"]).to_numpy(), run.items["site"].to_numpy()


def test_a_contribution_is_what_the_federation_of_all_scores_above_the_one_without(federations):
    runs = federations()
    frame = contribution(runs)
    assert len(frame) == 3 * SITES * len(SEEDS)
    by_key = {(run.config.partition.without, run.config.seed): run for run in runs}
    for row in frame.to_dict("records"):
        number = int(row["site"].removeprefix("site-"))
        every, sites = _answers(by_key[None, row["seed"]])
        fewer, _ = _answers(by_key[number, row["seed"]])
        asked = {
            "common": np.full(len(sites), True),
            "others": sites != row["site"],
            "own": sites == row["site"],
        }[row["items"]]
        assert row["n_test"] == asked.sum()
        assert row["contribution"] == pytest.approx(every[asked].mean() - fewer[asked].mean())
        assert row["contribution_low"] < row["contribution"] < row["contribution_high"]


def test_p_values_are_mcnemars_adjusted_over_the_sites_of_a_seed(federations):
    runs = federations()
    for seed in SEEDS:
        every, _ = _answers(runs[SEEDS.index(seed)])
        alone = [
            stats.mcnemar(every, _answers(run)[0])
            for run in runs
            if run.config.partition.without is not None and run.config.seed == seed
        ]
        rows = pick(contribution(runs), seed=seed, items="common").sort_values("site")
        assert rows["mcnemar"].tolist() == pytest.approx(stats.holm(alone))


def test_a_site_is_shown_to_contribute_or_to_harm_only_where_interval_and_p_agree(federations):
    rows = pick(contribution(federations()), items="common")
    assert set(pick(rows, site="site-00")["verdict"]) == {"contributes"}
    assert "contributes" not in set(pick(rows, site="site-03")["verdict"])
    for row in rows.to_dict("records"):
        shown = row["mcnemar"] < 0.05 and not (
            row["contribution_low"] <= 0 <= row["contribution_high"]
        )
        assert (row["verdict"] != "no difference shown") == shown


def test_a_federation_that_was_not_run_is_said_not_to_have_been(federations):
    frame = contribution(federations((None, 0)))
    missing = frame[frame["site"] != "site-00"]
    assert set(missing["verdict"]) == {"not run"}
    assert missing["contribution"].isna().all()
    assert contribution(federations((None,))).empty
    assert contribution(federations((0,))).empty


def test_a_site_too_small_to_train_is_neither_tested_nor_counted(federations, too_small):
    runs = [too_small(run, "site-00") for run in federations()]
    frame = contribution(runs)
    small = pick(frame, site="site-00")
    assert set(small["verdict"]) == {"too small to train"}
    assert small["mcnemar"].isna().all()
    summary = pick(contribution_summary(runs), items="common").iloc[0]
    assert (summary["n_sites"], summary["idle"]) == ((SITES - 1) * len(SEEDS), len(SEEDS))
    kept = pick(frame[frame["site"] != "site-00"], items="common")
    assert summary["mean"] == pytest.approx(kept["contribution"].mean())
    # Nobody holds its items any longer, as far as own items are concerned.
    others = pick(frame, items="others", site="site-01", seed=0).iloc[0]
    own = pick(frame, items="own", seed=0)
    assert others["n_test"] == own[own["site"].isin(["site-02", "site-03"])]["n_test"].sum()


def test_the_mean_over_sites_has_the_interval_over_seeds_where_that_is_wider(federations):
    runs = federations()
    frame = contribution(runs)
    for row in contribution_summary(runs).to_dict("records"):
        rows = pick(frame, items=row["items"])
        by_seed = rows.groupby("seed")["contribution"].mean().to_numpy()
        assert row["mean"] == pytest.approx(by_seed.mean())
        over_seeds = stats.seed_interval(by_seed)
        assert row["ci_high"] - row["ci_low"] >= min(1.0, over_seeds.high) - max(
            -1.0, over_seeds.low
        ) - 1e-9  # fmt: skip


def test_size_is_ranked_within_each_seed(federations):
    """Without site 0 most is lost and without site 3 nothing, in each seed; the rest is a tie."""
    sizes = (40, 20, 20, 10)
    runs = federations()
    for run in runs:
        sites = [site | {"n_train": n} for site, n in zip(run.sites, sizes, strict=True)]
        object.__setattr__(run, "sites", sites)
    rows = pick(contribution(runs), items="common")
    found = [
        spearmanr(part["n_train"], part["contribution"]).statistic
        for _, part in rows.groupby("seed")
    ]
    assert min(found) > 0.8
    summary = pick(contribution_summary(runs), items="common").iloc[0]
    assert summary["rank_correlation"] == pytest.approx(np.mean(found))
    assert -1 <= summary["rank_low"] <= summary["rank_high"] <= 1


def test_words_tell_the_mean_its_interval_and_how_many_sites_are_shown(federations):
    said = say_contribution(contribution_summary(federations()))
    assert "dirichlet-0.3, fedavg, on the common test items: leaving a site out costs" in said
    assert "over 8 sites of 2 seeds" in said
    assert "Shown to contribute: 2; to harm: 0" in said
    assert "of the two adapters at hand, and training again might differ" in said
    assert "not run" not in said
    assert "Sites not run: 6." in say_contribution(contribution_summary(federations((None, 0))))
    one = say_contribution(contribution_summary(federations(seeds=(0,))))
    assert "cannot be told from one seed" in one
    nobody = say_contribution(contribution_summary([]))
    assert nobody == "No federation was run without one of its sites."


def test_the_table_of_means_tells_how_many_seeds_sites_and_items_it_is_of(federations):
    summary = contribution_summary(federations())
    caption = contribution_mean_caption(summary)
    assert "2 seeds, 8 pairs of seed and site" in caption
    assert "common: 120 items" in caption
    assert set(summary["ci_kind"]) <= {kind for kind in summary["ci_kind"] if kind in caption}
    assert "not run" in contribution_mean_caption(contribution_summary([]))


def test_the_figure_draws_every_site_of_every_seed_with_its_interval(federations):
    frame = contribution(federations())
    figure = contribution_figure(frame)
    assert len(figure.axes) == 3
    for ax, items in zip(figure.axes, ("common", "others", "own"), strict=True):
        assert sum(len(line.get_xdata()) for line in ax.lines[:3]) == SITES * len(SEEDS)
        (spans,) = ax.collections
        low = sorted(path.vertices[:, 1].min() for path in spans.get_paths())
        assert low == pytest.approx(sorted(100 * pick(frame, items=items)["contribution_low"]))
        x = np.concatenate([line.get_xdata() for line in ax.lines[:3]])
        assert len({*x}) == len(pick(frame, items=items)[["seed", "n_train"]].drop_duplicates())
    assert "synthetic" not in figure.axes[0].get_title(loc="left")
    assert "2 seeds" in contribution_caption(frame)
    nothing = contribution(federations((None,)))
    assert "not run" in contribution_caption(nothing)
    assert "not run" in contribution_figure(nothing).axes[0].texts[0].get_text()


def test_a_look_alike_is_called_synthetic_above_its_panel(save, config):
    runs = [
        save(config("federated", 0, task="lookalike_medqa", partition=partition))
        for partition in (IID, IID.model_copy(update={"without": 0}))
    ]
    title = contribution_figure(contribution(runs)).axes[0].get_title(loc="left")
    assert "synthetic" in title


@pytest.mark.parametrize(
    "table", [composition, contrasts, convergence, joining, main_results, rule_table]
)
def test_tables_of_settings_and_rules_do_not_list_federations_that_lack_a_site(
    table, federations, save, config
):
    others = [save(config("local", seed, partition=SKEWED)) for seed in SEEDS]
    whole, fewer = federations((None,)), federations((0, 1))
    assert table([*others, *whole, *fewer]).equals(table([*others, *whole]))


def test_a_site_left_out_is_not_said_to_be_too_small(federations, too_small):
    whole = [too_small(run, "site-03") for run in federations((None,), (0,))]
    fewer = [too_small(run, "site-00", "site-03") for run in federations((0,), (0,))]
    assert remarks([*whole, *fewer]) == remarks(whole)
    assert "site-03 (seed 0)" in " ".join(remarks(whole))
