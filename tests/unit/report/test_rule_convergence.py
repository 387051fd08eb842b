"""How rules converge: by round, by megabytes, to a target, and whether they fell afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from fedbench.profiles import read_spec
from fedbench.report import (
    convergence,
    rule_convergence,
    rule_convergence_caption,
    rule_convergence_figure,
    rule_endings,
    rule_endings_caption,
    rule_table,
    say_rule_convergence,
    style,
)
from fedbench.report.rule_curves import looks_of, spread
from tests.unit.report.conftest import IID, ROUNDS
from tests.unit.report.test_tables import pick

SKILL = {"fedavg": 0.9, "fedadam": 0.7, "flexlora": 0.95}


@pytest.fixture
def ruled(by_rule):
    return by_rule(SKILL)


def changed(run, **by_round):
    """The run with fields of its rounds replaced, a value per round."""
    rounds = [
        record | {name: values[number] for name, values in by_round.items()}
        for number, record in enumerate(run.rounds)
    ]
    object.__setattr__(run, "rounds", rounds)
    return run


def test_curves_are_those_of_the_federated_setting_told_apart_by_rule(ruled):
    frame = rule_convergence(ruled)
    assert len(frame) == len(SKILL) * 2 * ROUNDS
    alone = convergence([run for run in ruled if run.config.rule == "flexlora"])
    mine = frame[frame["rule"] == "flexlora"]
    assert mine["mean"].tolist() == alone["mean"].tolist()
    assert list(frame["rule"].unique()) == ["fedavg", "fedadam", "flexlora"]


def test_megabytes_add_up_over_rounds_in_both_directions(ruled):
    rows = pick(rule_convergence(ruled), rule="fedavg", partition="iid")
    assert rows["megabytes"].tolist() == pytest.approx([0.08, 0.16, 0.24, 0.32])


def test_the_way_to_the_target_is_that_of_the_table_of_rules(ruled):
    endings = rule_endings(ruled).set_index(["rule", "partition"])
    table = pick(rule_table(ruled), metric="accuracy").set_index(["rule", "partition"])
    for name in ("rounds_to_target", "megabytes_to_target"):
        np.testing.assert_array_equal(endings[name], table.loc[endings.index, name])
    assert endings["reached"]["fedavg", "iid"] == 3
    assert endings["reached"]["fedadam", "iid"] == 0
    said = say_rule_convergence(rule_endings(ruled))
    assert "fedavg in 3 of 3 seeds, after 4 rounds and 0 MB (medians)" in said
    assert "fedadam in 0 of 3 seeds;" in said


def test_a_seed_that_ends_below_its_best_round_is_told_if_it_is_more_than_noise(ruled):
    """20 items: one accuracy of 0.5 has a standard error of 11.2 points, of 0.9 one of 6.7."""
    before = say_rule_convergence(rule_endings(ruled))
    assert "Below their best round" not in before
    assert "(at most 0.0 points)" in before
    changed(ruled[0], validation_accuracy=[0.3, 0.9, 0.9, 0.7])
    changed(ruled[1], validation_accuracy=[0.3, 0.5, 0.5, 0.4])
    row = pick(rule_endings(ruled), rule="fedavg", partition="iid").iloc[0]
    assert row["fell"] == 1
    assert row["greatest_fall"] == pytest.approx(-0.2)
    assert row["fall"] == pytest.approx((-0.2 - 0.1 + 0) / 3)
    assert row["best"] - row["last"] == pytest.approx(-row["fall"])
    assert "fedavg (1 of 3 seeds, at most 20.0 points)" in say_rule_convergence(rule_endings(ruled))


@pytest.mark.parametrize("last", [1.2, float("nan"), float("inf")])
def test_a_training_loss_that_did_not_fall_is_called_divergence(ruled, last):
    assert "below that of round 1 with every rule and seed" in say_rule_convergence(
        rule_endings(ruled)
    )
    changed(ruled[0], train_loss=[1.0, 0.5, 0.5, last])
    assert pick(rule_endings(ruled), rule="fedavg", partition="iid")["diverged"].tolist() == [1]
    told = "did not end below that of round 1 with fedavg (1 of 3 seeds)"
    assert told in say_rule_convergence(rule_endings(ruled))


@pytest.mark.parametrize("along", ["round", "megabytes"])
def test_every_rule_has_a_line_and_its_name_in_every_panel(ruled, along):
    frame = rule_convergence(ruled)
    figure = rule_convergence_figure(frame, along)
    assert len(figure.axes) == 2
    for ax, partition in zip(figure.axes, ("iid", "dirichlet-0.3"), strict=True):
        assert sorted(text.get_text() for text in ax.texts) == sorted(SKILL)
        rows = pick(frame, partition=partition, rule="fedavg")
        (line,) = [line for line in ax.lines if line.get_linewidth() > 3]
        assert line.get_ydata() == pytest.approx(100 * rows["mean"].to_numpy())
        assert line.get_xdata() == pytest.approx(rows[along].to_numpy(dtype=float))
    assert "3 seeds" in rule_convergence_caption(frame)


def test_no_two_rules_of_the_profile_look_alike():
    rules = {rule for grid in read_spec("rules").grid for rule in grid.rules}
    rules |= {"fedavg", "fedavg, 1 own passes"}
    looks = looks_of(sorted(rules))
    assert {*looks} == rules
    assert len(rules) > len(style.CYCLE) + 1
    assert len({(look.color, look.marker) for look in looks.values()}) == len(rules)
    assert looks["fedavg"] == style.LOOKS["federated"]


def test_the_first_looks_are_those_of_the_cycle_and_none_comes_twice():
    assert tuple(style.apart(len(style.CYCLE))) == style.CYCLE
    assert style.apart(0) == []
    many = style.apart(len(style.CYCLE) ** 2)
    assert len({(look.color, look.marker) for look in many}) == len(many)
    for one, later in zip(many, many[len(style.CYCLE) :], strict=False):
        assert one.color == later.color
        assert one.dash != later.dash


def test_rules_of_another_optimizer_have_a_panel_of_their_own(save, config, ruled):
    sgd = [
        save(config("federated", seed, rule=rule, partition=IID, optimizer="sgd"), skill=0.5)
        for rule in ("fedavg", "scaffold")
        for seed in (0, 1, 2)
    ]
    found = [*ruled, *sgd]
    figure = rule_convergence_figure(rule_convergence(found))
    drawn = {
        ax.get_title(loc="left").split("\n")[-1]: sorted(text.get_text() for text in ax.texts)
        for ax in figure.axes
    }
    assert {*drawn} == {"iid", "iid, sgd", "dirichlet-0.3"}
    assert drawn["iid"] == sorted(SKILL)
    assert drawn["iid, sgd"] == ["fedavg", "scaffold"]
    said = say_rule_convergence(rule_endings(found))
    assert "iid, sgd: validation accuracy of 80 % is reached by fedavg in 0 of 3" in said


@pytest.fixture
def personal(save, config):
    """FedAvg with a pass alone afterwards, which is logged as if it were one more round."""
    runs = [
        save(config("federated", seed, partition=IID, own_passes=1, passes=2), skill=0.7)
        for seed in (0, 1, 2)
    ]
    for run in runs:
        alone = {"round": ROUNDS, "validation_accuracy": 0.99, "train_loss": 9.0}
        object.__setattr__(run, "rounds", [*run.rounds, run.rounds[-1] | alone])
    return runs


def test_what_sites_do_alone_after_the_last_round_is_no_round(personal):
    curve = rule_convergence(personal)
    assert list(curve["round"]) == [*range(1, ROUNDS + 1)]
    row = rule_endings(personal).iloc[0]
    assert row["last"] == pytest.approx(curve["mean"].iloc[-1])
    assert row["best"] == pytest.approx(row["last"])
    assert (row["fell"], row["diverged"]) == (0, 0)
    told = "fedavg, 1 own passes: the shared adapter, before sites train on alone."
    assert told in rule_convergence_caption(curve)
    assert told in rule_endings_caption(rule_endings(personal))


def test_rules_whose_sites_are_scored_with_their_own_adapters_are_named(save, config, ruled):
    own = [save(config("federated", seed, rule="fedsa-lora", partition=IID)) for seed in (0, 1)]
    told = "fedsa-lora: every site is scored with its own adapter, in every round."
    for found in ([*ruled, *own], own):
        assert told in rule_convergence_caption(rule_convergence(found))
        assert told in rule_endings_caption(rule_endings(found))
    assert "own adapter" not in rule_endings_caption(rule_endings(ruled))


def test_without_validation_items_nothing_is_known_of_accuracies(save, config):
    runs = [save(config("federated", seed, partition=IID)) for seed in (0, 1)]
    for run in runs:
        changed(run, validation_accuracy=[None] * ROUNDS, n_validation=[0] * ROUNDS)
    row = rule_endings(runs).iloc[0]
    assert row[["last", "best", "fall", "greatest_fall", "standard_error"]].isna().all()
    assert (row["fell"], row["reached"]) == (0, 0)
    assert "Nobody holds validation items." in say_rule_convergence(rule_endings(runs))


def test_the_table_of_endings_tells_its_items_and_its_yardstick(ruled):
    caption = rule_endings_caption(rule_endings(ruled))
    assert "(20 items)" in caption
    assert "3 seeds" in caption
    assert "a yardstick, not a test" in caption


def test_names_keep_their_order_their_distance_and_the_panel():
    heights = spread([0.1, 0.5, 0.5, 0.51, 0.99, 1.0], 0.1)
    gaps = np.diff(heights)
    assert (gaps > 0.1 - 1e-9).all()
    assert heights[0] == 0.1
    assert heights[-1] == 1.0


def test_nothing_run_is_said():
    assert say_rule_convergence(rule_endings([])) == "No rule was run."
    assert "not run" in rule_convergence_caption(rule_convergence([]))
    assert "not run" in rule_endings_caption(rule_endings([]))
    assert "not run" in rule_convergence_figure(rule_convergence([])).axes[0].texts[0].get_text()
