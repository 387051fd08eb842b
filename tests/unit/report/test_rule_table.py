"""Rules beside FedAvg: what is compared with what, and how many were tried."""

from __future__ import annotations

import numpy as np
import pytest

from fedbench.report import rule_table, rules_caption, rules_figure, say_rules, stats
from fedbench.report.cells import cells
from fedbench.report.inventory import rounds_of
from fedbench.report.rule_table import NOT_TESTED, first_at
from tests.unit.report.conftest import ROUNDS, SITES
from tests.unit.report.test_tables import pick

RULES = {"fedavg": 0.6, "fedadam": 0.6, "flexlora": 0.95}


@pytest.fixture
def ruled(by_rule):
    return by_rule(RULES)


def test_a_gain_is_the_difference_to_fedavg_on_the_same_partition(ruled):
    frame = rule_table(ruled)
    for partition in ("iid", "dirichlet-0.3"):
        rows = pick(frame, partition=partition, metric="accuracy").set_index("rule")
        assert list(rows.index) == ["fedavg", "fedadam", "flexlora"]
        for rule in ("fedadam", "flexlora"):
            expected = rows["mean"][rule] - rows["mean"]["fedavg"]
            assert rows["gain"][rule] == pytest.approx(expected)
        assert rows["verdict"]["fedavg"] == ""
        assert np.isnan(rows["gain"]["fedavg"])


def test_p_values_are_adjusted_over_the_rules_that_were_tried(ruled):
    both = pick(rule_table(ruled), partition="iid", metric="accuracy").set_index("rule")["p"]
    few = [run for run in ruled if run.config.rule != "fedadam"]
    alone = pick(rule_table(few), partition="iid", metric="accuracy").set_index("rule")["p"]
    assert both["flexlora"] == pytest.approx(2 * alone["flexlora"])


def test_a_rule_without_fedavg_beside_it_is_shown_without_a_verdict(ruled):
    frame = rule_table([run for run in ruled if run.config.rule == "flexlora"])
    assert not frame.empty
    assert set(frame["verdict"]) == {""}
    assert say_rules(frame) == "Nothing was run beside FedAvg."
    assert "not run" in rules_caption(frame)


def test_rules_are_compared_within_an_optimizer_which_is_named(ruled, save, config):
    plain = [
        save(config("federated", seed, rule=rule, optimizer="sgd"), skill=skill)
        for rule, skill in {"fedavg": 0.3, "scaffold": 0.9}.items()
        for seed in (0, 1, 2)
    ]
    both = rule_table([*ruled, *plain])
    usual = both[both["optimizer"] == "adamw"].reset_index(drop=True)
    assert usual.equals(rule_table(ruled))
    rows = pick(both, optimizer="sgd", metric="accuracy").set_index("rule")
    expected = rows["mean"]["scaffold"] - rows["mean"]["fedavg"]
    assert rows["gain"]["scaffold"] == pytest.approx(expected)
    assert "iid, sgd, common test items: scaffold above FedAvg" in say_rules(both)
    titles = [ax.get_title(loc="left").split("\n")[0] for ax in rules_figure(both).axes[::2]]
    assert sorted(titles) == ["dirichlet-0.3", "iid", "iid, sgd"]


def test_what_is_said_names_the_rules_that_are_shown_to_beat_fedavg(ruled):
    said = say_rules(rule_table(ruled))
    assert "iid, common test items: flexlora above FedAvg" in said
    assert "fedadam above" not in said


def test_the_figure_has_a_row_per_partition_and_names_every_rule(ruled):
    figure = rules_figure(rule_table(ruled))
    assert len(figure.axes) == 4
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["fedadam", "flexlora"]


def test_nothing_run_is_a_figure_that_says_so():
    assert "not run" in rules_figure(rule_table([])).axes[0].texts[0].get_text()


@pytest.mark.parametrize("spread", [0.001, 0.01, 0.1])
def test_a_two_sided_p_is_below_five_percent_just_where_the_interval_leaves_out_zero(spread):
    random = np.random.default_rng(1)
    for _ in range(50):
        per_seed = 0.02 + spread * random.standard_normal(3)
        left_out = per_seed + 0.001 * random.standard_normal((40, 3))
        found = stats.Estimate((0, 1, 2), tuple(map(str, range(40))), per_seed, left_out, 40, False)
        ends = stats.interval(found)
        assert (stats.p_differs(found) < 0.05) == (ends.low > 0 or ends.high < 0)


def test_a_target_is_reached_at_the_first_round_that_has_it_and_costs_all_bytes_until_then(ruled):
    (rounds,) = {len(run.rounds) for run in ruled}
    row = pick(rule_table(ruled, target=0.0), metric="accuracy").iloc[0]
    assert row["rounds_to_target"] == 1
    assert row["megabytes_to_target"] == pytest.approx(0.08)
    late = pick(rule_table(ruled, target=0.9), metric="accuracy").set_index(["rule", "partition"])
    assert late["rounds_to_target"]["flexlora", "iid"] == rounds
    assert np.isnan(late["rounds_to_target"]["fedavg", "iid"])


@pytest.fixture
def personal(save, config):
    """FedSA-LoRA, and FedAvg with a pass of the sites' own, which is recorded after the rounds."""
    own = [save(config("federated", seed, rule="fedsa-lora"), skill=0.9) for seed in (0, 1, 2)]
    for seed in (0, 1, 2):
        run = save(config("federated", seed, own_passes=1), skill=0.9)
        alone = run.rounds[-1] | {"round": ROUNDS, "validation_accuracy": 0.99}
        object.__setattr__(run, "rounds", [*run.rounds, alone])
        own.append(run)
    return own


def test_adapters_of_sites_are_not_tested_against_a_shared_one_on_common_items(ruled, personal):
    """Nor do they count as tried there, so that the others are adjusted as without them."""
    frame = rule_table([*ruled, *personal])
    names = ["fedsa-lora", "fedavg, 1 own passes"]
    rows = pick(frame, partition="iid", metric="accuracy").set_index("rule")
    assert set(rows["verdict"][names]) == {NOT_TESTED}
    assert rows.loc[names, ["gain", "p", "smallest_difference"]].isna().all(axis=None)
    without = pick(rule_table(ruled), partition="iid", metric="accuracy").set_index("rule")
    for column in ("p", "smallest_difference"):
        assert rows[column]["flexlora"] == without[column]["flexlora"]
    for metric in ("accuracy_own", "accuracy_worst"):
        own = pick(frame, partition="iid", metric=metric).set_index("rule")
        assert own.loc[names, "gain"].notna().all()
    assert "is not tested there" in rules_caption(frame)
    assert "is not tested there" not in rules_caption(rule_table(ruled))
    texts = [text.get_text() for ax in rules_figure(frame).axes for text in ax.texts]
    assert texts == [NOT_TESTED] * len(names)
    assert "(p adjusted over 2 rules" in say_rules(frame).splitlines()[0]


def test_personal_rules_alone_beside_fedavg_are_still_drawn_where_they_are_tested(ruled, personal):
    fedavg = [run for run in ruled if run.config.rule == "fedavg"]
    frame = rule_table([*fedavg, *personal])
    assert "common test items" not in say_rules(frame)
    assert len(rules_figure(frame).axes) == 2


def test_what_would_have_been_seen_is_told_after_the_adjustment_over_rules(ruled):
    both = pick(rule_table(ruled), partition="iid", metric="accuracy").set_index("rule")
    row = both.loc["flexlora"]
    few = [run for run in ruled if run.config.rule != "fedadam"]
    alone = pick(rule_table(few), partition="iid", metric="accuracy").set_index("rule")
    assert row["smallest_difference"] > alone["smallest_difference"]["flexlora"]
    assert row["gain_high"] == alone["gain_high"]["flexlora"]


def test_what_sites_do_alone_at_the_end_is_no_round(personal):
    run = personal[-1]
    assert first_at(run, 0.98) is None
    rounds, sent = first_at(run, 0.5)
    assert (rounds, sent) == (2, 2 * 80_000)
    (cell,) = cells(personal[3:])
    rows = rounds_of(cell)
    assert [row["round"] for row in rows] == [1, 2, 3, ROUNDS]
    assert rows[-1]["passes"] == cell.config.passes - 1


def test_it_is_told_how_many_sites_are_scored_and_what_they_hold(ruled, too_small):
    assert f"All {SITES} sites are scored" in rules_caption(rule_table(ruled))
    for run in ruled:
        too_small(run, "site-00")
    frame = rule_table(ruled)
    assert set(frame["sites_trained"]) == {SITES - 1}
    assert (frame["n_train_used"] < frame["n_train_all"]).all()
    assert f"those of {SITES - 1} of {SITES} sites, which hold" in rules_caption(frame)
