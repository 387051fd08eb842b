"""Energy tables: known joules give known quantities, and an estimate is called one everywhere."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from fedbench.report import energy, energy_bars, energy_parts
from fedbench.report.saving import Configuration

HOW = {"cpu": "measured (RAPL)", "ram": "estimated (constant power by memory size)"}
GUESSED = HOW | {"cpu": "estimated (rated power scaled by load)"}


def measurement(method="lora", setting="federated", repeat=0, scale=1.0, how=HOW, **other):
    joules = {
        "load": {"cpu": 5.0, "ram": 2.0},
        "train": {"cpu": 30.0 * scale, "ram": 60.0},
        "evaluate": {"cpu": 8.0, "ram": 4.0},
        "wire": {"cpu": 1.0, "ram": 1.0},
        "aggregate": {"cpu": 0.5, "ram": 1.0},
        "other": {"cpu": 0.5, "ram": 1.0},
    }
    return {
        "method": method,
        "repeat": repeat,
        "config": {
            "task": "lookalike_fpb",
            "backbone": "fedbench-llama",
            "method": method,
            "compute": "plain",
            "setting": setting,
            "partition": {"kind": "iid", "sites": 4},
        },
        "joules": joules,
        "how": how,
        "tokens": 1000,
        "items": 400,
        "wall_seconds": 9.0,
        "overhead_seconds": 0.09,
        "peak_memory_bytes": {"train": 500_000_000, "evaluate": 700_000_000},
        "bytes_down": 4000,
        "bytes_up": 2000,
        "adapter_bytes": 1000,
        "validation": [0.4, 0.6, 0.7, 0.7],
        "grid_g_per_kwh": 400.0,
        "grid_source": "a stub",
        "idle_watts": "not measured",
        **other,
    }


def record(*measurements, target=0.6):
    spec = {
        "task": "lookalike_fpb", "backbone": "fedbench-llama", "repeats": 2, "target": target,
        "methods": ["lora"],
    }  # fmt: skip
    return {"measurements": list(measurements), "spec": spec, "provenance": {"commit": "abc"}}


def value(frame, quantity, unit):
    (row,) = frame[(frame["quantity"] == quantity) & (frame["unit"] == unit)].to_dict("records")
    return row


@pytest.fixture
def frame():
    return energy.energy_table(record(measurement(), measurement(repeat=1, scale=1.2)))


@pytest.mark.parametrize(
    ("quantity", "unit", "expected"),
    [
        ("training", "mJ per token", 1000 * (0.030 + 0.036) / 2),
        ("training, memory by constant", "mJ per token", 60),
        ("training to 60 % validation accuracy", "J", (15 + 18) / 2),
        ("inference", "J per 1,000 items", 20.0),
        ("whole run", "g CO2e", (45 + 51) / 2 / 3.6e6 * 400),
        ("peak memory in training", "MB", 500.0),
        ("peak memory in scoring", "MB", 700.0),
        ("payloads, both directions", "kB", 6.0),
        ("share of wire", "% of all energy", 100 * (1 / 45 + 1 / 51) / 2),
    ],
)
def test_known_joules_give_known_quantities(frame, quantity, unit, expected):
    assert value(frame, quantity, unit)["mean"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("setting", "sent"), [("federated", 6.0), ("local", 0), ("centralized", 0)]
)
def test_only_a_federation_sends_payloads(setting, sent):
    frame = energy.energy_table(record(measurement(setting=setting)))
    assert value(frame, "payloads, both directions", "kB")["mean"] == sent


def test_shares_of_phases_add_up_to_a_hundred(frame):
    needs, shares = energy.needs_and_shares(frame)
    assert shares["mean"].sum() == pytest.approx(100)
    assert len(needs) + len(shares) == len(frame)
    assert set(shares["unit"]) == {"% of all energy"}
    assert "share of train (% of all energy)" in energy.energy_wide(shares).columns


def test_repeats_give_a_t_interval(frame):
    row = value(frame, "training", "mJ per token")
    assert row["ci_kind"] == "t over repeats"
    # Half width of two values d apart: t(0.975, 1) * d / 2 = 12.706 * 3 mJ.
    assert row["ci_high"] - row["mean"] == pytest.approx(12.7062 * 3, rel=1e-4)


def test_one_repeat_has_no_interval():
    row = value(energy.energy_table(record(measurement())), "training", "mJ per token")
    assert row["ci_kind"] == "none"
    assert row["ci_low"] != row["ci_low"]


def test_a_target_that_is_missed_has_no_value():
    frame = energy.energy_table(record(measurement(), measurement(repeat=1), target=0.9))
    row = value(frame, "training to 90 % validation accuracy", "J")
    assert row["mean"] != row["mean"]
    assert row["reached"] == 0
    assert "not reached (0 of 2)" in energy.energy_wide(frame).to_string()


def test_memory_by_constant_is_in_no_headline(frame):
    assert value(frame, "training", "mJ per token")["obtained"] == "measured (RAPL)"
    apart = value(frame, "training, memory by constant", "mJ per token")
    assert energy.is_estimated(apart["obtained"])


def test_an_estimate_is_called_one_in_table_caption_and_figure():
    known = record(measurement(), measurement(repeat=1))
    guessed = record(measurement(how=GUESSED), measurement(repeat=1, how=GUESSED))
    for made, estimated in ((known, False), (guessed, True)):
        frame = energy.energy_table(made)
        shown = energy.energy_wide(frame)
        assert shown["training (mJ per token)"].str.startswith("~").all() == estimated
        assert ("cannot rank methods by energy" in energy.energy_caption(made)) == estimated
        titles = [ax.get_title(loc="left") for ax in energy_bars.energy_figure(frame).axes]
        assert ("estimated" in titles[0]) == estimated
        assert "estimated" not in titles[2]
        hatches = {bar.get_hatch() for bar in energy_bars.energy_figure(frame).axes[0].patches}
        assert hatches == ({"////"} if estimated else {None})


def test_synthetic_data_are_called_synthetic():
    assert "Synthetic" in energy.energy_caption(record(measurement()))


@pytest.mark.parametrize("moved", [False, True])
def test_a_record_of_other_code_says_so_in_caption_and_figure(moved):
    made = record(measurement()) | {"moved": moved}
    assert ("make energy" in energy.energy_caption(made)) == moved
    assert ("older code" in energy.face(made)) == moved


SETTINGS = ("local", "federated", "centralized")
ONCE = [measurement(setting=setting) for setting in SETTINGS]
TWICE = [*ONCE, *(measurement(setting=setting, repeat=1) for setting in SETTINGS)]


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (TWICE, "2 repeats"),
        (TWICE[:5], "1 to 2 of 2 repeats"),
        (ONCE, "1 of 2 repeats"),
        (ONCE[:1], "0 to 1 of 2 repeats"),
    ],
)
def test_caption_and_figure_count_the_repeats_that_are_there(done, said):
    assert f"interval over {said}." in energy.energy_caption(record(*done))
    assert energy.face(record(*done)).endswith(f"; {said}")


def test_the_caption_says_what_reading_the_meter_took_where_it_took_most():
    made = record(measurement(), measurement(repeat=1) | {"overhead_seconds": 0.45})
    assert "Reading the meter took at most 5.0 % of a run's time." in energy.energy_caption(made)


def test_a_record_of_other_code_is_remarked_beside_verdicts():
    made = record(measurement())
    assert energy.energy_remarks(None) == energy.energy_remarks(made | {"moved": False}) == []
    assert "other code" in energy.energy_remarks(made | {"moved": True})[0]


def test_energy_to_a_target_is_said_to_be_split_evenly_over_rounds(frame):
    row = value(frame, "training to 60 % validation accuracy", "J")
    assert row["obtained"] == "measured (RAPL); split evenly over rounds"
    assert value(frame, "training", "mJ per token")["obtained"] == "measured (RAPL)"
    assert "split evenly over rounds" in energy.energy_caption(record(measurement()))


def test_a_table_is_written_with_its_numbers_and_origin(frame, tmp_path):
    made = record(measurement(), measurement(repeat=1))
    energy.write_energy_table(frame, "energy", tmp_path, made)
    assert {path.name for path in tmp_path.iterdir()} == {
        "energy.csv",
        "energy.md",
        "energy.tex",
        "energy.json",
    }
    told = json.loads((tmp_path / "energy.json").read_text())
    assert told["provenance"]["commit"] == "abc"
    ids = {one["run"] for one in told["measurements"]}
    assert ids == set(told["configs"])
    assert [one["how"] for one in told["measurements"]] == [HOW, HOW]


def test_nothing_measured_is_written_as_one_sentence_and_no_table(tmp_path):
    page = energy.write_energy_table(energy.energy_table(None), "energy", tmp_path, None)
    assert page.startswith("Energy: not run. This profile has no energy suite")
    assert "|" not in page
    assert "tabular" not in (tmp_path / "energy.tex").read_text()


def test_components_add_up_to_what_was_measured_and_say_how():
    made = record(measurement(), measurement(repeat=1, scale=2.0))
    found = energy_parts.component_table(made)
    assert set(found["obtained"]) == set(HOW.values())
    assert value(found, "cpu, train", "J")["mean"] == pytest.approx((30 + 60) / 2)
    assert value(found, "ram, train", "J")["mean"] == pytest.approx(60)
    assert found["mean"].sum() == pytest.approx((45 + 75) / 2 + 69)


def ran(method, tokens, setting="federated", backbone="fedbench-llama"):
    config = {"method": method, "setting": setting, "backbone": backbone, "compute": "plain"}
    return SimpleNamespace(config=SimpleNamespace(**config), metrics={"tokens": tokens})


def test_an_extrapolation_is_joules_per_token_times_tokens_and_called_one():
    made = record(
        *(measurement(repeat=i, scale=1 + 0.2 * i) for i in range(2)),
        *(measurement(repeat=i, setting="local", scale=2) for i in range(2)),
        measurement("ia3", scale=0.5),
    )
    runs = [
        ran("lora", 1_000_000),
        ran("lora", 500_000, "local"),
        ran("lora", 7, backbone="fedbench-qwen2"),  # never measured: left out
        ran("ia3", 2_000_000),
    ]
    # 30 and 36 J per 1,000 tokens federated, 60 local: 60 and 66 kJ; t(0.975, 1) = 12.706
    assert energy_parts.extrapolated(made, runs).split("\n") == [
        "- lora on fedbench-llama: 1,500,000 training tokens in all runs of this profile, about 63 "
        "[24.9, 101], n = 2 repeats, kJ (extrapolated: joules per token × tokens).",
        "- ia3 on fedbench-llama: 2,000,000 training tokens in all runs of this profile, about 30 "
        "(one repeat) kJ (extrapolated: joules per token × tokens).",
    ]
    guessed = energy_parts.extrapolated(record(measurement(how=GUESSED)), runs)
    assert "tokens, from estimated power)" in guessed


@pytest.mark.parametrize(
    ("value", "shown"),
    [(2e-5, "0.00002"), (0.000489, "0.000489"), (99.96, "100"), (1234.5, "1,234")],
)
def test_numbers_have_three_digits_and_no_power_of_ten(value, shown):
    assert energy.digits(value) == shown


def test_counts_are_shown_whole_and_without_an_interval(frame):
    made = record(*(measurement(repeat=i, adapter_bytes=1_169_000) for i in range(2)))
    (shown,) = energy.energy_wide(energy.energy_table(made)).to_dict("records")
    assert shown["adapter (kB)"] == "1,169"


def test_every_repeat_is_a_point_of_the_figure(frame):
    (ax, *_) = energy_bars.energy_figure(frame).axes
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in points] == [2]


IA3 = Configuration("lookalike_fpb", "fedbench-llama", "ia3", "plain", "iid")


def both(scale, how=HOW, **other):
    lora = [measurement(repeat=i, how=how) for i in range(3)]
    ia3 = [measurement("ia3", repeat=i, scale=scale, how=how, **other) for i in range(3)]
    return record(*lora, *ia3)


def test_half_the_joules_per_token_is_a_saving_of_a_half():
    saved = energy.savings(both(0.5))["energy", IA3]
    assert saved.mean == pytest.approx(0.5)
    assert (saved.evidence, saved.repeats, saved.ci_kind) == ("measured", 3, "t over repeats")


def test_a_saving_that_was_estimated_says_so():
    saved = energy.savings(both(0.5, how=GUESSED))
    assert saved["energy", IA3].evidence == "estimated"
    assert saved["peak_memory", IA3].evidence == "measured"


def test_more_memory_is_a_negative_saving():
    saved = energy.savings(both(1.0, peak_memory_bytes={"train": 600_000_000, "evaluate": 0}))
    assert saved["peak_memory", IA3].mean == pytest.approx(-0.2)


def test_nothing_measured_saves_nothing():
    assert energy.savings(None) == {}
    assert energy.savings(record(measurement(), measurement("ia3"))) == {}


def test_words_give_the_ratio_with_its_interval():
    lora = [measurement(repeat=i) for i in range(2)]
    ia3 = [measurement("ia3", repeat=i, scale=0.5 + 0.02 * i) for i in range(2)]
    # Half width of two values d apart: t(0.975, 1) * d / 2 = 12.706 * 0.01.
    assert energy.say_energy(record(*lora, *ia3)) == (
        "- ia3: 0.51 [0.38, 0.64] x LoRA's energy per training token in federated tuning, 95 % "
        "t over repeats (n = 2; measured)."
    )


def test_words_say_that_an_estimate_decides_nothing_and_that_one_repeat_says_nothing():
    assert "estimated, so it decides nothing" in energy.say_energy(both(0.5, how=GUESSED))
    assert energy.say_energy(record(measurement(), measurement("ia3"))).startswith("Too few")
    assert energy.say_energy(None).startswith("Energy was not measured")
