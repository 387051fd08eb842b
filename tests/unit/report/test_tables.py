from __future__ import annotations

import pytest

from fedbench import report
from fedbench.config import PartitionConfig
from fedbench.errors import FedbenchError
from fedbench.report import contrasts, main_results, wide
from fedbench.report.tables import MAIN_COLUMNS

OWED = (
    "task, backbone, method, setting, partition, sites, rule, metric, mean, ci_low, ci_high, "
    "ci_kind, n_seeds, n_train, n_test, split, scoring, compute, steps, p_chance, p_majority, "
    "synthetic"
).split(", ")


def pick(frame, **values):
    for name, value in values.items():
        frame = frame[frame[name] == value]
    return frame


def test_the_main_table_has_every_column_that_is_owed(runs):
    assert set(OWED) <= set(main_results(runs).columns)
    assert tuple(main_results(runs).columns) == MAIN_COLUMNS


def test_every_score_lies_in_its_interval_and_says_of_what_kind(runs):
    frame = main_results(runs)

    assert (frame["ci_low"] <= frame["mean"]).all()
    assert (frame["mean"] <= frame["ci_high"]).all()
    assert set(frame["ci_kind"]) <= {"t over seeds", "item clusters"}
    assert set(pick(frame, setting="base")["ci_kind"]) == {"item clusters"}


def test_settings_that_know_no_sites_have_one_accuracy_and_one_own_score_per_partition(runs):
    frame = pick(main_results(runs), task="fpb", setting="centralized")

    assert list(pick(frame, metric="accuracy")["partition"]) == ["pooled"]
    assert set(pick(frame, metric="accuracy_own")["partition"]) == {"iid", "dirichlet-0.3"}


def test_a_skilled_setting_is_above_guessing_and_an_unskilled_one_is_not(runs):
    frame = pick(main_results(runs), task="lookalike_medqa", metric="accuracy")

    assert set(pick(frame, setting="centralized")["verdict"]) == {
        "above chance, majority and blind"
    }
    assert pick(frame, setting="base")["verdict"].item().startswith("not above chance")


def test_p_values_are_adjusted_over_the_whole_table(runs):
    alone = main_results([run for run in runs if run.config.setting == "local"])
    among = pick(main_results(runs), setting="local")
    keys = {"task": "fpb", "partition": "iid", "metric": "accuracy"}

    assert pick(among, **keys)["p_blind"].item() >= pick(alone, **keys)["p_blind"].item()


def test_only_accuracy_is_tested(runs):
    frame = main_results(runs)

    assert frame[frame["metric"] != "accuracy"]["p_chance"].isna().all()
    assert pick(frame, metric="accuracy")["p_chance"].notna().all()


def test_n_test_counts_the_items_behind_a_value_and_no_others(save, config):
    run = save(config("federated"))
    frame = main_results([run]).set_index("metric")
    items = run.items
    right = (items["prediction"] == items["gold"]).groupby(items["site"]).mean()
    held = items.groupby("site").size()

    assert frame.loc["accuracy", "n_test"] == frame.loc["accuracy_own", "n_test"] == len(items)
    assert frame.loc["accuracy_worst", "n_test"] == held[right.idxmin()]
    assert frame.loc["invalid_rate", "n_test"] == 20


def test_items_that_many_adapters_answer_count_once(save, config):
    runs = [save(config(setting)) for setting in ("local", "federated")]

    assert set(main_results(runs).query("metric == 'accuracy'")["n_test"]) == {120}
    assert set(contrasts(runs)["n_test"]) == {120}


def test_items_of_a_site_too_small_to_train_are_behind_no_own_score(save, config, too_small):
    run = too_small(save(config("federated")), "site-00")
    kept = int((run.items["site"] != "site-00").sum())

    assert pick(main_results([run]), metric="accuracy_own")["n_test"].item() == kept


def test_guessing_on_the_common_items_is_not_told_of_the_sites_own(runs):
    frame = main_results(runs)
    own = frame[frame["metric"].isin(["accuracy_own", "accuracy_worst"])]

    assert own[["chance", "majority", "blind", "p_chance"]].isna().all(axis=None)
    assert {"chance", "majority", "verdict"}.isdisjoint(wide(frame, "accuracy_worst").columns)
    assert wide(frame, "accuracy_own")["n_test"].tolist() == [120] * 4


def test_a_planned_cell_without_run_says_not_run(save, config):
    planned = [config("base"), config("federated"), config("local")]
    frame = main_results([save(config("base")), save(config("federated"))], planned)

    assert pick(frame, setting="local")["verdict"].item() == "not run"
    assert wide(frame)["local"].item() == "not run"
    assert wide(frame)["centralized"].item() == "not run"


def test_missing_seeds_are_said(save, config):
    frame = main_results([save(config("federated", 0))], [config("federated", s) for s in (0, 1)])

    assert wide(frame)["federated"].item().endswith("(1 of 2 seeds)")


def test_where_nothing_beats_guessing_the_row_says_that_nothing_can_be_concluded(save, config):
    configs = [config("base"), *(config(s, n) for s in ("federated", "local") for n in (0, 1))]
    table = wide(main_results([save(made, skill=0.30) for made in configs]))

    assert table["verdict"].item() == ("none is shown to beat guessing: nothing can be concluded")
    assert "†‡§" in table["federated"].item()


def test_what_only_beats_chance_shows_nothing_about_the_questions(save, config):
    run = save(config("federated"), skill=0.75)
    frame = main_results([run])
    frame["not_above"] = "majority"

    assert wide(frame)["verdict"].item().startswith("none is shown to beat all predictors")


def test_one_lucky_seed_of_three_is_not_above_guessing_whatever_the_items_say(save, config):
    runs = [save(config("federated", seed), skill) for seed, skill in enumerate((0.34, 0.34, 0.99))]
    frame = main_results(runs)
    row = pick(frame, metric="accuracy").iloc[0]

    assert row["p_chance"] < 1e-3
    assert row["not_above"] == "chance, majority, blind"
    assert row["verdict"] == "not above chance, majority, blind"
    assert "†‡§" in wide(frame)["federated"].item()


def test_an_untuned_backbone_has_one_run_and_is_judged_by_its_items(save, config):
    frame = pick(main_results([save(config("base"), skill=0.9)]), metric="accuracy")

    assert (frame["n_seeds"].item(), frame["not_above"].item()) == (1, "")


def test_a_synthetic_task_says_so_in_the_table(runs):
    assert wide(main_results(runs))["task"].tolist() == [
        *["Financial PhraseBank"] * 2,
        *["MedQA look-alike (synthetic)"] * 2,
    ]


def test_two_results_for_one_place_are_refused(save, config):
    runs = [save(config("federated", learning_rate=rate)) for rate in (1e-3, 2e-3)]

    with pytest.raises(FedbenchError, match="one place for each setting of fpb"):
        wide(main_results(runs))


def test_what_a_site_too_small_holds_is_not_counted_as_trained_on(save, config, too_small):
    run = save(config("federated"))
    sizes = {site["site"]: site["n_train"] for site in run.sites}
    row = main_results([too_small(run, "site-00")]).iloc[0]

    assert (row["sites"], row["sites_trained"]) == (4, 3)
    assert row["n_train"] == sum(sizes.values()) - sizes["site-00"]


def test_an_untuned_backbone_was_trained_on_nothing(save, config):
    assert set(main_results([save(config("base"))])["n_train"]) == {0}


def test_shuffled_labels_are_not_shown_beside_true_ones(save, config):
    runs = [save(config("federated")), save(config("federated", labels="shuffled"))]

    assert len(wide(main_results(runs))) == 1


def test_partitions_of_several_sizes_are_scored_and_compared_each_with_its_own(save, config):
    sizes = [PartitionConfig(kind="iid", sites=sites) for sites in (2, 4)]
    settings = ("local", "federated")
    groups = [[save(config(name, partition=size)) for name in settings] for size in sizes]
    together = [run for group in groups for run in group]
    alone = [
        row for group in groups for row in pick(main_results(group), metric="accuracy_own")["mean"]
    ]
    own = pick(main_results(together), metric="accuracy_own").sort_values("sites")

    assert own["mean"].tolist() == alone
    assert set(own["partition"]) == {"iid, 2 sites", "iid, 4 sites"}
    assert len(contrasts(together)) == sum(len(contrasts(group)) for group in groups)


@pytest.mark.parametrize(
    ("numbers", "caption"),
    [
        (report.main_results, report.scores_caption),
        (report.main_results, report.results_caption),
        (report.contrasts, report.contrasts_caption),
    ],
)
def test_a_table_says_its_seeds_its_items_its_interval_and_what_it_could_have_shown(
    runs, numbers, caption
):
    said = caption(numbers(runs))
    for words in ("3 seeds", "95 % interval: ", "test items", "With a power of 80 %, a di"):
        assert words in said, words


def test_the_caption_of_scores_that_were_not_run_says_so(config):
    assert report.scores_caption(report.main_results([], [config("base")])).endswith("not run.")
