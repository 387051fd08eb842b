"""What bytes buy: codecs beside fp32, adapters beside full, and two protocols of a budget."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedbench.report import (
    budget_caption,
    codec_caption,
    codec_figure,
    codec_figure_caption,
    codec_table,
    cost_to_target,
    full_caption,
    full_table,
    quality_under_budget,
    say_codecs,
    say_targets,
    side_by_side,
    stats,
    target_caption,
)
from fedbench.report.byte_budget import cost, quality, spent_until
from fedbench.report.codec_table import GAIN, NOT_SHOWN, OPEN, SHOWN, _verdict, sent
from tests.unit.report.conftest import IID, ITEMS, ROUNDS, SITES, make_config, save_run

UPLOADS = {"fp32": 40_000, "int8": 10_000, "int4": 5_000, "ef+sign": 2_000}


def made(codec="fp32", skill=0.7, seeds=(0, 1, 2), up=None, **values):
    """Runs of one cell: in every round so many bytes up, 40 kB down, and 44 kB to validate."""
    runs = []
    for seed in seeds:
        config = make_config("federated", seed, partition=IID, codec=codec, **values)
        run = save_run(config, skill=skill)
        for record in run.rounds:
            record |= {"bytes_up": up or UPLOADS[codec], "bytes_validation": 44_000}
        runs.append(run)
    return runs


@pytest.fixture
def runs():
    return [*made(), *made("int8", 0.71), *made("int4", 0.3), *made("ef+sign", 0.99)]


def test_a_gain_is_the_paired_difference_to_fp32_and_says_no_more_than_its_p(runs):
    frame = codec_table(runs).set_index("codec")
    assert list(frame.index) == ["fp32", "int8", "int4", "ef+sign"]
    accuracy = {
        codec: np.mean([r.metrics["accuracy"] for r in runs if r.config.codec == codec])
        for codec in UPLOADS
    }
    for codec, row in frame.iloc[1:].iterrows():
        assert row["mean"] == pytest.approx(accuracy[codec])
        assert row["gain"] == pytest.approx(accuracy[codec] - accuracy["fp32"])
        assert row["gain_low"] < row["gain"] < row["gain_high"]
        assert (row["n_seeds"], row["n_test"]) == (3, ITEMS)
    assert dict(frame["verdict"]) == {
        "fp32": "", "int8": NOT_SHOWN, "int4": SHOWN, "ef+sign": GAIN,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (-0.3, -0.1, 0.01, SHOWN),
        (-0.3, -0.1, 0.06, OPEN),  # nobody should read as harmless what lies below zero
        (-0.3, 0.1, 0.06, NOT_SHOWN),
        (0.1, 0.3, 0.06, NOT_SHOWN),
        (0.1, 0.3, 0.01, GAIN),
    ],
)
def test_a_verdict_tells_an_interval_below_zero_from_one_around_it(low, high, p, verdict):
    found = stats.Interval((low + high) / 2, low, high, stats.OVER_SEEDS, 2)
    assert _verdict(found, p) == verdict


def test_a_p_is_adjusted_over_the_codecs_that_were_tried(runs):
    alone = codec_table([r for r in runs if r.config.codec in ("fp32", "int4")])
    together = codec_table(runs)
    p = [frame.set_index("codec")["p"]["int4"] for frame in (alone, together)]
    assert p[1] > p[0]


def test_bytes_are_those_of_a_site_and_round_and_of_all(runs):
    frame = codec_table(runs).set_index("codec")
    row = frame.loc["int8"]
    assert row["bytes_up"] == 10_000 / SITES
    assert row["bytes_down"] == 40_000 / SITES
    assert row["bytes_validation"] == 44_000 / SITES
    assert row["bytes_up_all"] == 10_000 * ROUNDS
    assert row["times_fewer_up"] == 4
    assert row["times_fewer"] == pytest.approx(124 / 94)
    assert frame.loc["fp32", "times_fewer"] == 1


def test_keys_and_shares_are_among_all_bytes():
    (run,) = made(seeds=(0,))
    before = codec_table([run])["bytes_all"][0], spent_until(run)[-1]
    run.rounds[0].update(bytes_keys=700, bytes_unmask=70)
    run.rounds[1].update(bytes_keys=7)
    assert codec_table([run])["bytes_all"][0] == before[0] + 777
    assert spent_until(run)[-1] == before[1] + 777


def test_a_cohort_that_validates_alone_shares_its_bytes():
    (run,) = made(seeds=(0,), participation=0.5, validated_by="cohort")
    for record in run.rounds:
        record["cohort"] = record["cohort"][:2]
    assert sent(run)["validation"] == 44_000 / 2
    (other,) = made(seeds=(0,))
    assert sent(other)["validation"] == 44_000 / SITES


def test_on_the_front_is_what_no_other_beats_in_bytes_and_accuracy(runs):
    assert dict(codec_table(runs).set_index("codec")["on_front"]) == {
        "fp32": False, "int8": False, "int4": False, "ef+sign": True,
    }  # fmt: skip
    better = [*runs, *made("int8", 1.0, codec_down="delta+int8")]
    front = codec_table(better).set_index(["codec", "codec_down"])["on_front"]
    assert front["int8", "delta+int8"]
    assert front["ef+sign", "fp32"]
    assert front.sum() == 2


def test_without_fp32_nothing_is_compared():
    frame = codec_table(made("int8"))
    assert frame["gain"].isna().all()
    assert say_codecs(frame) == "Nothing was run beside what is compared with."


def test_methods_are_compared_with_their_own_fp32_and_adapters_with_full(runs):
    full = [*made(method="full", skill=0.95, up=900_000), *made("int8", 0.9, method="full")]
    frame = codec_table([*runs, *full])
    assert len(frame[frame["gain"].isna()]) == 2
    beside = full_table([*runs, *full])
    first, *others = beside.to_dict("records")
    assert (first["method"], first["codec"]) == ("full", "fp32")
    assert {(row["method"], row["codec"]) for row in others} == {("lora", c) for c in UPLOADS}
    lora = next(row for row in others if row["codec"] == "fp32")
    assert lora["gain"] == pytest.approx(lora["mean"] - first["mean"])
    assert lora["times_fewer_up"] == 900_000 / 40_000
    assert full_table(runs).empty


def test_what_is_said_names_codecs_by_their_verdict(runs):
    said = say_codecs(codec_table(runs))
    shown, _, rest = said.partition(f"{NOT_SHOWN} with ")
    assert "int8 (4 times fewer up" in rest
    assert f"{SHOWN} with int4 (8 times fewer up, -" in said
    assert "int8" not in shown


def test_spent_is_what_a_budget_counts():
    (run,) = made(seeds=(0,))
    assert spent_until(run) == [124_000 * (n + 1) for n in range(ROUNDS)]


def test_quality_is_the_best_validation_accuracy_of_the_rounds_within_the_budget():
    (run,) = made(seeds=(0,))
    for record, accuracy in zip(run.rounds, (0.5, 0.8, 0.6, 0.9), strict=True):
        record["validation_accuracy"] = accuracy
    assert quality(run, 123_999) is None
    assert quality(run, 124_000) == (1, 0.5)
    assert quality(run, 3 * 124_000) == (3, 0.8)
    assert quality(run, math.inf) == (4, 0.9)
    assert cost(run, 0.7) == (2, 248_000)
    assert cost(run, 0.95) is None


def test_one_seed_that_never_reached_it_leaves_no_mean():
    runs = made()
    for run in runs[:2]:
        run.rounds[1]["validation_accuracy"] = 0.97
    frame = cost_to_target(runs, [0.97])
    assert list(frame["reached"]) == [2]
    assert frame["megabytes"].isna().all()
    assert "not reached on every seed: lora fp32" in say_targets(frame)
    runs[2].rounds[3]["validation_accuracy"] = 0.97
    row = cost_to_target(runs, [0.97]).iloc[0]
    assert row["megabytes"] == pytest.approx(0.124 * (2 + 2 + 4) / 3)
    assert (row["megabytes_least"], row["megabytes_most"]) == pytest.approx((0.248, 0.496))


def test_a_budget_that_pays_no_round_is_a_dash(runs):
    frame = quality_under_budget(runs, [90_000, 1e6])
    shown = side_by_side(frame).set_index("codec")
    unpaid = shown["0.09 MB"] == "–"
    assert dict(unpaid) == {"fp32": True, "int8": True, "int4": False, "ef+sign": False}
    assert "–" not in set(shown["1 MB"])


def test_captions_and_the_figure_of_nothing_say_not_run():
    for caption in (codec_caption, codec_figure_caption, full_caption):
        assert "not run" in caption(codec_table([]))
    assert "not run" in codec_figure(codec_table([])).axes[0].texts[0].get_text()
    assert "Nothing" in say_targets(cost_to_target([]))
    assert side_by_side(quality_under_budget([])).empty
    assert "validation data" in budget_caption(quality_under_budget([]))
    assert "validation data" in target_caption(cost_to_target([]))


def test_the_figure_numbers_every_row_and_names_it_once(runs):
    figure = codec_figure(codec_table(runs))
    key = [text.get_text() for text in figure.axes[1].texts]
    assert key == ["1  lora ef+sign", "2  lora int4", "3  lora int8", "4  lora fp32"]
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["1", "2", "3", "4"]
