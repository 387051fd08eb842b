"""Recorded audits of leaks as a table: what is told over seeds, proven of all, and not shown."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fedbench.errors import FedbenchError
from fedbench.leakage.measures import auc, provable
from fedbench.leakage.membership import by_likelihood_ratio, by_loss, by_surprise
from fedbench.report import (
    FIGURE,
    TABLE,
    check_written,
    leakage,
    leakage_caption,
    leakage_figure,
    leakage_shown,
    leaked_tokens,
    save_leakage_figure,
    say_leakage,
    tokens_caption,
    tokens_shown,
    write_leakage,
)

MEMBERS = OTHERS = 200  #: canaries of one seed that were inserted, and that were not


def rate(value):
    return {"value": value, "low": value / 2, "high": value + 0.1}


def finding(defence, inside=1.0, auc=0.5, hits=0, false=0, claimed=None):
    """On 4 candidates, thresholds being ranks 1, 2 and 4; ``hits`` of canaries rank first."""
    counts = [
        {"true_positives": t, "positives": MEMBERS, "false_positives": f, "negatives": OTHERS}
        for t, f in ((hits, false), (hits, false), (MEMBERS, OTHERS))
    ]
    return {
        "defence": defence,
        "loss_before": 5.0,
        "loss_inside": inside,
        "loss_outside": 4.0,
        "auc_loss": auc,
        "auc_surprise": auc,
        "auc_ratio": auc,
        "tpr_loss": rate(0.2),
        "tpr_surprise": rate(0.25),
        "tpr_ratio": rate(0.3),
        "exposure_inserted": 1.0,
        "exposure_other": 0.5,
        "exposure_most": 2.0,
        "counts": counts,
        "guesses": {"right": 0, "made": 0, "trials": MEMBERS + OTHERS},
        "delta": 1e-5,
        "check": {"epsilon": claimed} if claimed else None,
    }


def read(defence, recall, size=1, before=8):
    return {
        "defence": defence,
        "before": before,
        "projections": ["q_proj", "k_proj", "v_proj"],
        "batch_size": size,
        "tokens": 20.0,
        "span": {"guessed": 20, "precision": 1.0, "recall": recall},
        "nearest": {"guessed": 20, "precision": recall, "recall": recall},
        "baseline": {"guessed": 20, "precision": 0.25, "recall": 0.25},
    }


def record(*findings, seed=1, method="lora", shadows=10, inverted=()):
    return {
        "date": "2026-01-01T00:00:00Z",
        "method": method,
        "seed": seed,
        "synthetic": True,
        "plan": {"shadows": shadows, "pool": 64, "canaries": 40, "sites": 4, "delta": 1e-5,
                 "confidence": 0.95},
        "config": {"method": method},
        "findings": list(findings),
        "inverted": list(inverted),
        "provenance": {"commit": "0123456789abcdef", "code": "older"},
    }  # fmt: skip


@pytest.fixture
def records():
    return [
        record(
            finding("none", 1.0, auc, hits=150, false=2),
            finding("dp-sgd, epsilon = 8", 4.9, claimed=8.0),
            finding("dp-sgd, epsilon = 2", 3.0, claimed=2.0),
            finding("defect: dp-sgd never applied, claims epsilon = 1", hits=190, claimed=1.0),
            seed=seed,
            inverted=[read("none", recall), read("none", 0.5, size=4)],
        )
        for seed, auc, recall in ((1, 0.8, 1.0), (2, 0.9, 0.6))
    ]


def rows(records, **kept):
    frame = leakage(records, ["lora"])
    return {row["defence"]: row for row in frame.to_dict("records")}


def test_over_seeds_the_mean_the_least_and_the_greatest_are_told(records):
    row = rows(records)["none"]
    assert (row["auc_loss"], row["auc_loss_low"], row["auc_loss_high"]) == pytest.approx(
        (0.85, 0.8, 0.9)
    )
    assert (row["tokens"], row["tokens_low"], row["tokens_high"]) == pytest.approx((0.8, 0.6, 1.0))
    assert row["seeds"] == "1 2"
    assert row["kind"] == "least to greatest seed"


def test_one_seed_has_the_interval_of_its_rates_and_none_elsewhere(records):
    row = rows(records[:1])["none"]
    assert (row["tpr_ratio_low"], row["tpr_ratio_high"]) == pytest.approx((0.15, 0.4))
    assert math.isnan(row["auc_loss_low"])
    assert "Clopper-Pearson" in row["kind"]


def test_epsilon_is_bounded_by_the_counts_of_all_seeds_together(records):
    one, both = rows(records[:1])["none"], rows(records)["none"]
    assert 0 < one["epsilon"] < both["epsilon"] < both["epsilon_provable"]
    assert both["epsilon_provable"] == provable(2 * MEMBERS, 2 * OTHERS, 3, 1e-5)
    assert both["check_tpr"] == pytest.approx(300 / 400)
    assert both["check_fpr"] == pytest.approx(4 / 400)
    assert both["trials"] == 800


def test_a_claim_is_refuted_or_not_or_could_not_have_been(records):
    found = rows(records)
    assert found["none"]["check"] == ""
    assert found["dp-sgd, epsilon = 8"]["check"] == "not refuted, and could not have been"
    assert found["dp-sgd, epsilon = 2"]["check"] == "not refuted"
    assert found["defect: dp-sgd never applied, claims epsilon = 1"]["check"] == "refuted"


def test_an_attack_that_fails_on_a_model_that_learnt_nothing_shows_no_protection(records):
    found = rows(records)
    assert found["none"]["fit"] == 1
    assert found["dp-sgd, epsilon = 8"]["fit"] == pytest.approx(0.1 / 4)
    assert found["dp-sgd, epsilon = 8"]["verdict"] == "learnt hardly anything: shows no protection"
    assert found["dp-sgd, epsilon = 2"]["fit"] == pytest.approx(0.5)
    assert found["dp-sgd, epsilon = 2"]["verdict"] == "no leak proven"
    assert found["none"]["verdict"] == "tells who was there"


def test_an_auc_beyond_guessing_tells_even_where_no_epsilon_is_proven():
    # 5 standard errors of 640 fair coins: (641 / 3)^(1/2) / 640 each
    limit = 0.5 + 5 * math.sqrt(641 / 3) / 640
    for found, verdict in (
        (limit - 0.001, "no leak proven"),
        (limit + 0.001, "tells who was there"),
    ):
        assert rows([record(finding("none", auc=found))])["none"]["verdict"] == verdict


@pytest.mark.parametrize("attack", [by_loss, by_surprise, by_likelihood_ratio])
def test_no_attack_on_models_that_know_nothing_gets_beyond_guessing(attack):
    limit = rows([record(finding("none"), shadows=8)])["none"]["auc_guessing"]
    random = np.random.default_rng(0)
    for _ in range(100):
        inside = random.random((8, 64)) < 0.5
        hard = random.normal(3, 0.5, (1, 64)) + random.normal(0, 0.2, (8, 1))
        losses = np.exp(hard + random.normal(0, 0.1, (8, 64)))
        scores = attack(losses) if attack is by_loss else attack(losses, inside)
        assert auc(scores[inside], scores[~inside]) < limit


def test_chance_exposure_is_that_of_a_rank_at_random(records):
    assert rows(records)["none"]["exposure_chance"] == pytest.approx(2 - math.log2(24) / 4)


def test_a_method_without_a_record_is_there_and_not_run(records):
    frame = leakage(records)
    assert list(frame["method"]) == ["lora"] * 4 + ["ia3"]
    assert frame["verdict"].iloc[-1] == "not run"
    assert leakage_shown(frame)["verdict"].iloc[-1] == "not run"
    assert "**ia3**: not run" in say_leakage(frame)
    assert set(leakage([])["verdict"]) == {"not run"}
    assert leakage_caption(leakage([])) == "What updates tell: not run."
    assert tokens_caption(leaked_tokens([])) == "Tokens read off a gradient: not run."


def test_audits_of_different_sizes_are_not_told_together(records):
    smaller = record(*records[0]["findings"], seed=3, shadows=5)
    with pytest.raises(FedbenchError, match="record all of its seeds again"):
        leakage([*records, smaller])


def test_tokens_are_told_by_size_of_the_batch(records):
    frame = leaked_tokens(records)
    assert list(frame["batch"]) == [1, 4]
    assert list(frame["recovered"]) == pytest.approx([0.8, 0.5])
    assert list(tokens_shown(frame)["nearest: recall (%)"]) == ["80 [60, 100]", "50 [50, 50]"]


def test_tables_and_figures_say_that_they_are_synthetic_and_where_they_come_from(records, tmp_path):
    frame = leakage(records)
    caption = leakage_caption(frame)
    page = write_leakage(frame, leakage_shown(frame), "a", tmp_path, records, caption)
    save_leakage_figure(leakage_figure(frame), frame, "b", tmp_path, records, caption)
    check_written(tmp_path, ["a"], TABLE)
    check_written(tmp_path, ["b"], FIGURE)
    for told in ("synthetic", "lora: 2 seeds of 10 shadow sites", "The code of 2 has changed"):
        assert told.lower() in page.lower()
    origins = json.loads((tmp_path / "b.json").read_text())["origins"]
    assert [one["seed"] for one in origins] == [1, 2]
    assert origins[0]["provenance"]["commit"].startswith("0123")


def test_a_figure_of_nothing_is_drawn_all_the_same(tmp_path):
    frame = leakage([])
    save_leakage_figure(leakage_figure(frame), frame, "b", tmp_path, [], leakage_caption(frame))
    check_written(tmp_path, ["b"], FIGURE)
