"""Hostile sites in tables: beside the same rule without them, and never among honest runs."""

from __future__ import annotations

import numpy as np
import pytest

from fedbench.attacks.label_flip import following
from fedbench.report import (
    attacks,
    attacks_caption,
    attacks_figure,
    contrasts,
    convergence,
    main_results,
    resources,
    rule_table,
    say_attacks,
    stats,
)
from fedbench.report.attacks import called, said_anyway
from fedbench.report.attacks_figure import short_names
from fedbench.report.cells import cells, whole
from tests.unit.report.conftest import IID, ITEMS, SKEWED, TASKS
from tests.unit.report.test_tables import pick

TASK = "lookalike_fpb"
FLIP, DOOR = {"attack": "label-flip", "hostile": 0.25}, {"attack": "backdoor", "hostile": 0.25}
NOISE = {"attack": "sign-flip", "hostile": 0.25}
MEDIAN = "median"


@pytest.fixture(autouse=True)
def facts(monkeypatch):
    known = {"task_title": "FPB look-alike", "domain": "finance", "synthetic": True}
    monkeypatch.setitem(TASKS, TASK, known)


@pytest.fixture
def run(save, config):
    def saved(rule="fedavg", skill=0.8, seed=1, partition=IID, told=None, **attack):
        given = {"task": TASK, "rule": rule, "partition": partition, **attack}
        harm = {"attack": {"hostile": ["site-00"]} | (told or {})} if attack else {}
        return save(config("federated", seed, **given), skill=skill, **harm)

    return saved


@pytest.fixture
def shown(run):
    door = {"n": 80, "success": 0.9, "success_without_trigger": 0.2}
    return [
        run(),
        run(skill=0.2, **NOISE),
        run(skill=0.6, told={"n": ITEMS, "success": 0.3}, **FLIP),
        run(skill=0.8, told=door, **DOOR),
        run(rule=MEDIAN),
        run(rule=MEDIAN, skill=0.8, **NOISE),
    ]


def test_a_change_is_the_paired_difference_to_the_same_rule_with_nobody_hostile(shown):
    frame = attacks(shown)
    accuracy = {(r.config.rule, r.config.attack): r.metrics["accuracy"] for r in shown}
    for row in frame[frame["attack"] != "none"].to_dict("records"):
        assert row["mean"] == pytest.approx(accuracy[row["rule"], row["attack"]])
        assert row["honest"] == pytest.approx(accuracy[row["rule"], "none"])
        assert row["change"] == pytest.approx(row["mean"] - row["honest"])
        assert row["change_low"] < row["change"] < row["change_high"]
        assert row["change_kind"] == "item clusters"
        assert (row["n_test"], row["n_seeds"], row["seeds"]) == (ITEMS, 1, "1")
        assert len(row["runs"].split()) == 2


def test_a_verdict_says_no_more_than_its_interval(shown):
    verdicts = attacks(shown).set_index(["rule", "attack"])["verdict"]
    assert verdicts["fedavg", "sign-flip"] == "loses"
    assert verdicts[MEDIAN, "sign-flip"] == "no difference shown"
    assert verdicts["fedavg", "none"] == "nobody hostile"


def test_nobody_hostile_comes_first_then_attacks_on_accuracy_and_fedavg_before_other_rules(shown):
    frame = attacks(reversed(shown))
    assert list(zip(frame["attack"], frame["rule"], strict=True)) == [
        ("none", "fedavg"),
        ("none", MEDIAN),
        ("sign-flip", "fedavg"),
        ("sign-flip", MEDIAN),
        ("label-flip", "fedavg"),
        ("backdoor", "fedavg"),
    ]


def test_success_is_what_the_run_counted_with_an_interval_over_its_items(shown):
    row = attacks(shown).set_index("attack").loc["backdoor"]
    assert (row["success"], row["success_without_trigger"], row["n_success"]) == (0.9, 0.2, 80)
    # Of the 80 items whose answer is another, 40 are alone in their cluster and 40 are in pairs.
    expected = stats.wilson(0.9, 80**2 // (40 + 20 * 2**2))
    assert (row["success_low"], row["success_high"]) == (expected.low, expected.high)
    assert row["success_kind"] == "Wilson over item clusters"


def test_an_attack_without_a_goal_has_no_success(shown):
    frame = attacks(shown)
    assert frame[frame["attack"].isin(["none", "sign-flip"])]["success"].isna().all()


def test_what_honest_sites_answer_as_the_attacker_wants_is_counted_where_it_is_wrong(run):
    honest, flipped = run(skill=0.4), run(told={"n": ITEMS, "success": 0.5}, **FLIP)
    items = honest.items
    aims = [following(gold, 3) for gold in items["gold"]]
    row = attacks([honest, flipped]).iloc[1]
    assert row["success_of_honest"] == pytest.approx(np.mean(items["prediction"] == aims))
    doored = run(told={"n": 80, "success": 0.5, "success_without_trigger": 0.1}, **DOOR)
    (cell,) = cells([honest])
    wrong = items[items["gold"] != 0]
    assert said_anyway(doored.config, cell) == pytest.approx((wrong["prediction"] == 0).mean())


def test_refused_updates_and_the_examples_of_hostile_sites_are_counted(run):
    hostile = run(partition=SKEWED, **NOISE)
    hostile.rounds[0]["refused"] = {"site-00": "It is not finite."}
    hostile.rounds[1]["refused"] = {"site-00": "It is not finite.", "site-01": "So it is."}
    row = attacks([run(partition=SKEWED), hostile]).iloc[1]
    sizes = {site["site"]: site["n_train"] for site in hostile.sites}
    assert row["refused"] == 3
    assert row["hostile_sites"] == 1
    assert row["hostile_examples"] == pytest.approx(sizes["site-00"] / sum(sizes.values()))


def test_a_rule_that_learns_nothing_has_nothing_to_lose(run):
    frame = attacks([run(skill=0.34), run(skill=0.0, **NOISE)])
    row = frame.iloc[1]
    assert row["change"] < row["change_high"] < 0
    assert row["verdict"] == "had nothing to lose"
    assert "(fedavg on iid) had nothing to lose" in attacks_caption(frame)
    assert not attacks_figure(frame).axes[0].lines


def test_what_is_planned_and_has_no_run_is_there_and_says_so(run, config):
    missing = config("federated", 1, task=TASK, rule=MEDIAN, partition=IID, **FLIP)
    frame = attacks([run()], [missing])
    assert list(frame["verdict"]) == ["nobody hostile", "not run"]
    assert "1 of 2 cells: not run." in attacks_caption(frame)
    assert "not run: median" in say_attacks(frame)
    texts = [t.get_text() for ax in attacks_figure(frame).axes for t in ax.texts]
    assert "not\nrun" in texts


def test_an_attack_without_its_honest_run_is_not_compared(run):
    frame = attacks([run(told={"n": 9, "success": 0.5}, **FLIP), run(seed=2)])
    row = frame[frame["attack"] != "none"].iloc[0]
    assert row["verdict"] == "without an attack: not run"
    assert np.isnan(row["change"])


def test_of_nothing_everything_says_not_run():
    frame = attacks([])
    assert say_attacks(frame) == "Attacks: not run."
    assert attacks_caption(frame) == "Hostile sites: not run."
    assert "not run" in attacks_figure(frame).axes[0].texts[0].get_text()


def test_the_caption_tells_n_the_seed_and_kinds_of_interval(shown):
    caption = attacks_caption(attacks(shown))
    assert f"{ITEMS} common test items" in caption
    assert "One seed (1)" in caption
    assert "say nothing of other seeds" in caption
    assert "item clusters" in caption
    assert "Wilson over item clusters" in caption
    assert "These 4 intervals are not adjusted" in caption


def test_several_seeds_are_not_called_one(run):
    runs = [run(seed=seed, skill=skill, **kind) for seed in (1, 2) for skill, kind in
            ((0.8, {}), (0.3, NOISE))]  # fmt: skip
    caption = attacks_caption(attacks(runs))
    assert "2 seeds." in caption
    assert "One seed" not in caption


def test_the_figure_has_a_square_per_rule_and_attack_and_says_synthetic(shown):
    figure = attacks_figure(attacks(shown))
    accuracy, success = figure.axes
    assert [text.get_text() for text in accuracy.get_yticklabels()] == [
        "nobody hostile", "sign flip: 25 %", "label flip: 25 %", "backdoor: 25 %",
    ]  # fmt: skip
    assert [text.get_text() for text in success.get_xticklabels()] == ["fedavg", MEDIAN]
    assert "90" in [text.get_text() for text in success.texts]
    assert "synthetic" in figure.get_suptitle()


def test_a_triangle_stands_where_accuracy_is_shown_to_be_lower(shown):
    accuracy, success = attacks_figure(attacks(shown)).axes
    lower = pick(attacks(shown), verdict="loses")
    assert len(accuracy.lines) == len(lower) > 0
    assert not success.lines


def test_rules_are_named_with_options_only_where_two_would_be_alike():
    assert short_names(["fedavg", "krum:hostile=4"]) == ["fedavg", "krum"]
    two = ["krum:hostile=1", "krum:hostile=4"]
    assert short_names(two) == two
    assert called("backdoor+scaling:factor=5") == "backdoor, scaling ×5"


def test_what_is_said_names_points_and_what_was_said_anyway(shown):
    line = next(each for each in say_attacks(attacks(shown)).split("\n") if "backdoor" in each)
    assert "25 % of sites hostile, iid" in line
    assert "fedavg 90 % (" in line


def test_tables_of_settings_and_rules_leave_attacked_runs_out(run):
    honest, attacked = [run(), run(rule=MEDIAN)], [run(skill=0.1, **NOISE)]
    attacked.append(run(rule=MEDIAN, skill=0.1, told={"n": 1, "success": 1.0}, **FLIP))
    both = [*attacked, *honest]
    for table in (main_results, rule_table, contrasts, convergence, resources):
        assert table(both).equals(table(honest)), table.__name__
    assert all(not cell.config.hostile for cell in whole(cells(both)))
    assert len(whole(cells(both))) == 2
