"""Private federations beside the same without privacy: who is protected, what it costs."""

from __future__ import annotations

import pandas as pd
import pytest

from fedbench.protection import PrivacyConfig
from fedbench.report import (
    epsilon_by_round,
    epsilon_caption,
    epsilon_figure,
    main_results,
    privacy,
    privacy_caption,
    privacy_figure,
    rule_table,
    say_privacy,
)
from fedbench.report.privacy import _place
from tests.unit.report.conftest import TASKS

TASK = "lookalike_medqa"


@pytest.fixture
def run(save, config):
    def saved(setting="federated", skill=0.8, unit=None, epsilon=8.0, **values):
        public = 72 if unit == "example" else None
        if unit:
            values["privacy"] = PrivacyConfig(unit=unit, clip=1, epsilon=epsilon, examples=public)
        made = save(config(setting, task=TASK, **values), skill=skill, flops=None)
        if unit:
            for number, record in enumerate(made.rounds):
                record["epsilon"] = {"site-00": number + 1.0, "site-01": 0.5}
        return made

    return saved


@pytest.fixture
def shown(run):
    return [
        run("base", skill=0.25),
        run(),
        run(skill=0.25, unit="example", epsilon=1.0),
        run(skill=0.75, unit="example", epsilon=50.0),
        run(skill=0.25, unit="site"),
    ]


def test_a_private_run_is_paired_with_the_same_run_without_privacy(shown):
    frame = privacy(shown)
    for row, own in zip(frame.to_dict("records"), shown[2:], strict=True):
        without = shown[1].metrics["accuracy"]
        assert row["open"] == pytest.approx(without)
        assert row["gain"] == pytest.approx(own.metrics["accuracy"] - without)
        assert row["runs"].split() == [own.id, shown[1].id]
    assert list(frame["beside_open"])[::2] == ["below open", "below open"]


def test_what_is_not_shown_to_have_learnt_is_called_so(shown):
    frame = privacy(shown)
    assert list(frame["verdict"]) == [
        "no learning shown", "above base and majority", "no learning shown",
    ]  # fmt: skip
    assert "no private run is shown to have learnt anything" in say_privacy(frame[2:])


def test_units_are_never_mixed_and_every_caption_names_them(shown):
    frame = privacy(shown)
    assert list(frame["adjacency"]) == [
        *["one example of a site, add or remove"] * 2,
        "one site, its update replaced by zeros",
    ]
    spent = epsilon_by_round(shown)
    for caption in (privacy_caption(frame), epsilon_caption(spent)):
        for told in ("one example of a site, add or remove", "simulated", "1e-05", "prv"):
            assert told in caption


def test_in_poisson_cohorts_a_site_is_added_or_removed(run):
    made = run(unit="site", sampling="poisson", participation=0.5)
    assert list(privacy([made])["adjacency"]) == ["one site, add or remove"]


def test_epsilon_by_round_is_the_most_of_any_site_and_never_falls(run):
    made = run(unit="site")
    made.rounds[-1]["epsilon"] = {"site-01": 0.5}
    assert list(epsilon_by_round([made])["epsilon"]) == [1, 2, 3, 3]
    assert privacy([made])["epsilon_spent"][0] == 3


def test_without_the_open_run_there_is_no_price(run):
    frame = privacy([run(unit="site")])
    assert list(frame["beside_open"]) == ["not run"]
    assert frame["verdict"][0].endswith("base not run")
    privacy_figure(frame)


def test_few_examples_and_many_are_told_apart_and_the_few_come_first(shown):
    few = privacy(shown)
    many = few.assign(n_train=10 * few["n_train"])
    rows = [*many.to_dict("records"), *few.to_dict("records")]
    ordered = [(row["unit"], row["n_train"]) for row in sorted(rows, key=_place)]
    held = few["n_train"].iloc[0]
    assert list(dict.fromkeys(ordered)) == [
        (unit, size) for unit in ("example", "site") for size in (held, 10 * held)
    ]
    both = pd.concat([few, many], ignore_index=True)
    assert len(privacy_figure(both).axes) == 2 * len(privacy_figure(few).axes)
    assert f"{10 * held:,.0f} examples" in say_privacy(both)


def test_other_tables_leave_private_runs_out(shown):
    private = {made.id for made in shown[2:]}
    for frame in (main_results(shown), rule_table(shown)):
        assert not private & {one for ids in frame["runs"] for one in ids.split()}


def test_figures_say_synthetic_and_without_runs_that_there_are_none(shown):
    title = TASKS[TASK]["task_title"]
    for figure in (privacy_figure(privacy(shown)), epsilon_figure(epsilon_by_round(shown))):
        told = figure.legends[0].get_title().get_text()
        assert title in told
        assert "synthetic" in told
    assert "not run" in privacy_figure(privacy([])).axes[0].texts[0].get_text()
    assert "not run" in privacy_caption(privacy([]))
