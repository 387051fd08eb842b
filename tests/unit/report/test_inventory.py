from __future__ import annotations

import pytest

from fedbench.report import audit, composition, convergence, resources


def test_the_audit_counts_what_was_dropped(runs):
    row = audit(runs).set_index("task").loc["fpb"]

    assert (row["rows"], row["duplicates"], row["conflicts"]) == (1000, 8, 2)
    assert (row["n_train"], row["trained_on"], row["tested_on"]) == (400, 400, 120)


@pytest.mark.parametrize(("limit", "used"), [(64, 64), (2000, 400)])
def test_the_audit_names_how_many_examples_a_limit_left(save, config, limit, used):
    row = audit([save(config("federated", train_limit=limit))]).iloc[0]

    assert (row["n_train"], row["trained_on"]) == (400, used)


def test_composition_is_that_of_the_lowest_seed(runs):
    frame = composition(runs)
    first = next(r for r in runs if r.config.setting == "local" and r.config.seed == 0)
    same = frame[(frame["task"] == first.config.task) & (frame["partition"] == "iid")]

    assert set(frame["seed"]) == {0}
    assert same["examples"].sum() == sum(site["n_train"] for site in first.sites)


def test_payloads_are_per_site_and_round(save, config):
    run = save(config("federated"))

    assert resources([run])["bytes_up"].item() == 40_000 / 4


def test_a_method_without_federated_run_has_no_payload(save, config):
    assert resources([save(config("centralized"))])["bytes_up"].item() == 0


def test_convergence_counts_rounds_that_are_done(runs):
    frame = convergence(runs)

    assert sorted(frame["round"].unique()) == [1, 2, 3, 4]
    assert frame.groupby("round")["passes"].first().tolist() == [1.25, 2.5, 3.75, 5.0]


def test_convergence_is_the_mean_over_seeds_with_their_range(runs):
    frame = convergence(runs)
    last = frame[(frame["setting"] == "federated") & (frame["round"] == 4)].iloc[0]

    assert last["mean"] == pytest.approx(0.70 + 0.02)
    assert (last["least"], last["greatest"]) == pytest.approx((0.70, 0.74))
    assert last["n_seeds"] == 3


def test_convergence_has_the_t_interval_over_seeds(runs):
    frame = convergence(runs)
    last = frame[(frame["setting"] == "federated") & (frame["round"] == 4)].iloc[0]
    half = 4.302653 * 0.02 / 3**0.5  # t with two degrees of freedom; seeds are 0.02 apart

    assert (last["ci_low"], last["ci_high"]) == pytest.approx((0.72 - half, 0.72 + half))
    assert last["ci_kind"] == "t over seeds"


def test_one_seed_has_no_interval(save, config):
    frame = convergence([save(config("federated"))])

    assert frame[["ci_low", "ci_high"]].isna().all(axis=None)
    assert set(frame["ci_kind"]) == {"none: one seed"}


def test_a_federation_without_validation_items_is_left_out_of_the_mean(save, config):
    run = save(config("local"))
    rounds = [
        {**record, "validation_accuracy": None if record["federation"] == "site-00" else 0.5}
        for record in run.rounds
    ]
    object.__setattr__(run, "rounds", rounds)

    assert set(convergence([run])["mean"]) == {0.5}
