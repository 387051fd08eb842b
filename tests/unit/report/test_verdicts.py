"""Every branch of a verdict, on runs whose answers are chosen so that the numbers have a form.

An untuned backbone answers the first so many of a thousand items, each a cluster of its own; so do
all other settings. A difference of ``d`` answers then has the mean d / 1000 and nearly the standard
error sqrt(d) / 1000.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from fedbench import report, store
from fedbench.config import PartitionConfig
from fedbench.manifests import files_of, write_manifest
from fedbench.report import verdicts as judging
from fedbench.report.cells import cells
from fedbench.report.claim_file import Part, read_claims
from fedbench.report.saving import Configuration, Saving
from fedbench.report.stats import Interval
from fedbench.report.verdicts import (
    FAILED,
    FAILS,
    HOLDS,
    OPEN,
    PASSED,
    SMALL,
    UNTESTED,
    decide,
    summaries,
)

TOTAL = 1000
SKEWED = PartitionConfig(kind="dirichlet", alpha=0.3, sites=4)
STATED = read_claims()
C1, C2, C3 = STATED.claims


def only(claim, *names):
    """The claims file with one claim, and of that the parts with these names (all if none)."""
    parts = tuple(part for part in claim.parts if part.name in names or not names)
    return STATED.model_copy(update={"claims": (claim.model_copy(update={"parts": parts}),)})


@pytest.fixture
def answered(save, config):
    """A run in which each adapter answers the first ``right`` of a thousand items."""

    def make(setting, right, seed=0, total=TOTAL, metrics=None, **values):
        run = save(config(setting, seed, **values), **(metrics or {}))
        numbers = np.arange(total)
        tables = [
            pd.DataFrame({
                "adapter": adapter,
                "item": [f"item-{n}" for n in numbers],
                "cluster": [f"fact-{n}" for n in numbers],
                "site": [f"site-{n % 4:02d}" for n in numbers],
                "choices": 3,
                "gold": numbers % 3,
                "prediction": np.where(numbers < right, numbers, numbers + 1) % 3,
                "blind": 0,
                "majority": 0,
                "generated": pd.array([None] * total, dtype="Int64"),
            })
            for adapter in run.items["adapter"].unique()
        ]  # fmt: skip
        pd.concat(tables, ignore_index=True).to_parquet(run.source / store.ITEMS, index=False)
        write_manifest(run.source, files_of(run.source))
        return run

    return make


@pytest.fixture
def three(answered):
    """Base, centralized and federated, the latter two with three seeds that agree."""

    def make(base, centralized, federated, **values):
        trained = {"centralized": centralized, "federated": federated}
        return [
            answered("base", base, **values),
            *(answered(s, n, seed, **values) for s, n in trained.items() for seed in range(3)),
        ]

    return make


def judged(stated, runs, planned=(), measured=None):
    return judging.verdicts(stated, cells(runs, planned), measured)


def verdict_of(stated, runs, **given):
    (found,) = judged(stated, runs, **given)
    return found


def test_close_to_centralized_holds_within_three_points_of_a_large_gain(three):
    found = verdict_of(only(C1), three(base=250, centralized=500, federated=500))

    assert found.verdict == HOLDS
    assert found.margin == pytest.approx(0.03)
    assert (found.mean, found.gain) == pytest.approx((0.0, 0.25))
    assert found.low == pytest.approx(0.025 ** (1 / TOTAL) - 1)
    assert (found.n_seeds, len(found.runs)) == (3, 7)


def test_a_fifth_of_what_was_gained_at_least_is_the_margin_of_a_small_gain(three):
    found = verdict_of(only(C1), three(base=400, centralized=500, federated=470))
    half = 1.9623 * math.sqrt(0.03 * 0.97 / 999)
    gained = 0.10 - 1.9623 * math.sqrt(0.10 * 0.90 / 999)

    assert found.margin == pytest.approx(0.2 * gained, abs=1e-5)
    assert (found.low, found.high) == pytest.approx((-0.03 - half, -0.03 + half), abs=1e-5)
    assert (found.verdict, found.reason) == (
        OPEN,
        "the interval lies neither above -1.6 nor below -2.4",
    )


def test_a_loss_within_the_margin_at_the_estimated_gain_alone_does_not_hold_yet(three):
    """The interval lies above -2.0, a fifth of the gain, and not above a fifth of its bound."""
    found = verdict_of(only(C1), three(base=400, centralized=500, federated=489))

    assert found.low > -0.02
    assert found.verdict == OPEN


def test_close_to_centralized_does_not_hold_where_more_than_the_margin_is_lost(three):
    found = verdict_of(only(C1), three(base=400, centralized=500, federated=440))

    assert (found.verdict, found.reason) == (FAILS, "the interval lies below -2.4")


def test_a_reference_that_may_only_give_the_commonest_answer_leaves_it_undecided(three):
    """The majority is right on 334 of 1,000 items, and so is centralized training, nearly."""
    (found,) = judged(only(C1), three(100, 340, 340))
    assert found.verdict == SMALL
    assert "not shown to beat the training majority" in found.reason
    (found,) = judged(only(C1), three(100, 500, 500))
    assert found.verdict == HOLDS


def test_a_gain_that_may_be_less_than_five_points_leaves_it_undecided(three):
    found = verdict_of(only(C1), three(base=440, centralized=500, federated=500))
    half = 1.9623 * math.sqrt(0.06 * 0.94 / 999)

    assert found.verdict == SMALL == "cannot be decided at this scale"
    assert found.gain_low == pytest.approx(0.06 - half, abs=1e-5)
    assert found.reason == (
        "centralized − base has the lower bound +4.5, and +5.0 points are needed"
    )
    assert (found.margin, found.p) == (None, None)


@pytest.mark.parametrize(
    ("federated", "local", "word"), [(500, 400, HOLDS), (400, 500, FAILS), (500, 500, OPEN)]
)
@pytest.mark.parametrize("part", [part.name for part in C2.parts])
def test_beating_isolated_sites_is_superiority_on_common_and_on_own_items(
    answered, federated, local, word, part
):
    runs = [
        answered(setting, right, seed)
        for setting, right in (("federated", federated), ("local", local))
        for seed in range(3)
    ]
    found = verdict_of(only(C2, part), runs)

    assert found.verdict == word
    assert found.mean == pytest.approx((federated - local) / TOTAL)
    assert found.metric == next(p.metric for p in C2.parts if p.name == part)
    assert found.n_test == TOTAL


@pytest.mark.parametrize(("federated", "word"), [(500, PASSED), (440, FAILED), (470, UNTESTED)])
def test_a_look_alike_checks_the_machinery_and_decides_no_claim(three, federated, word):
    runs = three(base=400, centralized=500, federated=federated, task="lookalike_medqa")
    found = verdict_of(only(C1), runs)

    assert (found.verdict, found.synthetic) == (word, True)
    assert word.startswith("machinery check")


def test_a_look_alike_that_was_not_run_is_known_as_one(config):
    planned = [config(s, task="lookalike_medqa") for s in ("federated", "centralized", "base")]
    found = verdict_of(only(C1), [], planned=planned)

    assert (found.verdict, found.synthetic) == (UNTESTED, True)


def test_what_was_not_run_is_named(three, config):
    runs = three(base=250, centralized=500, federated=500)
    planned = [run.config for run in runs]
    half = [run for run in runs if (run.config.setting, run.config.seed) != ("centralized", 2)]

    assert verdict_of(only(C1), half, planned=planned).reason == (
        "not run: 1 of 3 runs of centralized"
    )
    nothing = verdict_of(only(C1), [], planned=planned)
    assert nothing.verdict == OPEN
    assert nothing.reason.startswith("not run: 3 of 3 runs of federated; not run: 3 of 3")
    assert nothing.mean is None


def test_what_is_not_planned_is_named(answered):
    found = verdict_of(only(C1), [answered("federated", 500)])

    assert (found.verdict, found.reason) == (OPEN, "not planned: centralized")


def test_runs_without_a_common_seed_decide_nothing(answered):
    runs = [answered("federated", 500, seed=1), answered("local", 400, seed=2)]
    found = verdict_of(only(C2, C2.parts[0].name), runs)

    assert (found.verdict, found.reason) == (OPEN, "its runs have no item or no seed in common")


def test_controls_bear_on_no_claim(three):
    assert judged(only(C1), three(250, 500, 500, labels="shuffled")) == []
    assert judged(only(C1), three(250, 500, 500, backbone="fedbench-llama:random")) == []


def test_one_test_alone_may_hold_and_two_of_them_not(answered):
    """Five answers more: t = sqrt(5), p = 0.0127, which Holm doubles beyond 0.025."""
    stated = only(C2, C2.parts[0].name)
    one = [answered(s, n) for s, n in (("federated", 505), ("local", 500))]
    two = [answered(s, n, partition=SKEWED) for s, n in (("federated", 505), ("local", 500))]

    alone = verdict_of(stated, one)
    assert (alone.verdict, alone.p) == (HOLDS, pytest.approx(0.0127, abs=2e-4))
    both = judged(stated, [*one, *two])
    assert [found.verdict for found in both] == [OPEN, OPEN]
    assert both[0].p == pytest.approx(2 * alone.p)
    assert "adjusted for the other tests of this claim p = 0.025" in both[0].reason


def test_look_alikes_are_no_tests_of_the_claim_that_others_are_adjusted_for(answered):
    stated = only(C2, C2.parts[0].name)
    pair = (("federated", 505), ("local", 500))
    real = [answered(s, n) for s, n in pair]
    generated = [answered(s, n, task="lookalike_medqa") for s, n in pair]

    assert [v.verdict for v in judged(stated, [*real, *generated])] == [HOLDS, PASSED]


@pytest.mark.parametrize(
    ("low", "high", "above", "below", "word"),
    [
        (-0.019, 0.01, 0.001, 1.0, HOLDS),
        (-0.019, 0.01, 0.03, 1.0, OPEN),
        (-0.020, 0.01, 0.001, 1.0, OPEN),
        (-0.050, -0.026, 1.0, 0.001, FAILS),
        (-0.050, -0.026, 1.0, 0.03, OPEN),
        (-0.050, -0.021, 1.0, 0.001, OPEN),
        (-0.024, -0.021, 1.0, 1.0, OPEN),
        (-math.inf, math.inf, 1.0, 1.0, OPEN),
    ],
)
def test_the_interval_and_the_adjusted_p_value_must_both_speak(low, high, above, below, word):
    found = Interval((low + high) / 2, low, high, "item clusters", 10)

    assert decide(found, (-0.02, -0.025), above, below)[0] == word


@pytest.mark.parametrize(("base", "word"), [(400, OPEN), (440, SMALL)])
def test_a_verdict_says_that_a_learning_rate_ended_at_the_edge_of_its_search(
    three, monkeypatch, base, word
):
    rate = {"passes": 5.0, "learning_rate": {"centralized": 0.002}, "at_an_edge": ["centralized"]}
    searches = {"cpu": {"cells": {"fpb fedbench-llama lora": rate}}}
    monkeypatch.setattr("fedbench.report.searches.searched", lambda: searches)
    found = verdict_of(only(C1), three(base=base, centralized=500, federated=480))

    assert found.verdict == word
    assert found.reason.endswith(
        "; learning rate at the edge of its search: fedbench-llama lora on Financial PhraseBank "
        "(centralized)"
    )


@pytest.fixture
def methods(answered):
    """Federated LoRA, and one other method with so many right answers, over an untuned backbone."""

    def make(method, right, **metrics):
        compute = "nf4" if method == "qlora" else "plain"
        return [
            answered("base", 250),
            *(answered("federated", 500, seed) for seed in range(3)),
            *(
                answered("federated", right, seed, method=method, compute=compute, metrics=metrics)
                for seed in range(3)
            ),
        ]

    return make


def by_part(runs, **given):
    return {found.part: found for found in judged(STATED, runs, **given) if found.claim == "C3"}


def test_ia3_saves_adapter_bytes_with_limited_loss(methods):
    found = by_part(methods("ia3", 500))

    assert found["IA3's loss of accuracy"].verdict == HOLDS
    assert found["IA3's loss of accuracy"].gain == pytest.approx(0.25)
    saved = found["IA3's adapter bytes"]
    assert (saved.verdict, saved.mean) == (HOLDS, pytest.approx(1 - 16 / 480))
    assert saved.reason == "saves 96.7 % of adapter bytes; its loss of accuracy is limited"


def test_qlora_s_adapter_is_as_large_as_lora_s(methods):
    saved = by_part(methods("qlora", 500))["QLoRA's adapter bytes"]

    assert (saved.verdict, saved.reason) == (FAILS, "saves no adapter bytes")


@pytest.mark.parametrize(
    ("right", "word", "clause"),
    [
        (400, FAILS, "its loss of accuracy is not limited"),
        (470, OPEN, "its loss of accuracy cannot be decided"),
    ],
)
def test_a_saving_at_the_price_of_accuracy_does_not_hold(methods, right, word, clause):
    saved = by_part(methods("ia3", right))["IA3's adapter bytes"]

    assert saved.verdict == word
    assert clause in saved.reason


HERE = Configuration("fpb", "fedbench-llama", "ia3", "plain", "iid")
MEASURED = ("measured", "t over repeats", 3)


def of_ia3(runs, measured):
    """Verdicts on energy of IA3, and what they say together."""
    judged_ = judged(STATED, runs, measured=measured)
    told = [v for v in judged_ if v.part == "IA3's energy"]
    return told, [one for one in summaries(STATED, judged_) if one.part == "IA3's energy"]


@pytest.mark.parametrize("resource", ["energy", "peak memory"])
def test_energy_and_memory_that_were_not_measured_decide_nothing(methods, resource):
    told = summaries(STATED, judged(STATED, methods("ia3", 500)))
    (found,) = (one for one in told if one.part == f"IA3's {resource}")

    assert (found.verdict, found.said, found.cells) == (OPEN, "not measured on a real task", ())


@pytest.mark.parametrize(
    ("saving", "word", "reason"),
    [
        (Saving(0.3, 0.1, 0.5, *MEASURED), HOLDS, "saves 30.0 % of energy; its loss"),
        (Saving(-0.3, -0.5, -0.1, *MEASURED), FAILS, "needs 30.0 % more energy"),
        (Saving(0.1, -0.1, 0.3, *MEASURED), OPEN, "the interval of what it saves"),
        (Saving(0.3, 0.1, 0.5, "estimated", "t over repeats", 3), OPEN, "energy is estimated, and"),
        (Saving(0.3, 0.3, 0.3, "counted", "exact"), OPEN, "energy is counted, and only measured"),
    ],
)
def test_only_measured_energy_decides(methods, saving, word, reason):
    (found,), _ = of_ia3(methods("ia3", 500), {("energy", HERE): saving})

    assert found.verdict == word
    assert found.reason.startswith(reason)


def test_a_saving_has_the_repeats_and_the_interval_of_its_measurement(methods):
    (found,), _ = of_ia3(methods("ia3", 500), {("energy", HERE): Saving(0.3, 0.1, 0.5, *MEASURED)})

    assert (found.n_repeats, found.ci_kind) == (3, "t over repeats")
    assert (found.n_seeds, found.n_test, found.p) == (0, 0, None)
    assert len(found.runs) == 7  # those behind the loss of accuracy


def test_one_measurement_decides_one_configuration(methods, answered):
    """LoRA and IA3 were run on two partitions, and measured on one of them."""
    skewed = [
        answered("federated", 500, seed, partition=SKEWED, **method)
        for seed in range(3)
        for method in ({}, {"method": "ia3"})
    ]
    runs = [*methods("ia3", 500), *skewed]
    told, (together,) = of_ia3(runs, {("energy", HERE): Saving(0.3, 0.1, 0.5, *MEASURED)})

    assert [found.configuration for found in told] == [HERE]
    assert together.said == "holds on 1 of 1"


@pytest.mark.parametrize(
    "other", [{"task": "fiqa_sa"}, {"backbone": "fedbench-qwen2"}, {"partition": "dirichlet-0.3"}]
)
def test_a_measurement_elsewhere_has_no_loss_of_accuracy_to_go_with_it(methods, other):
    where = HERE._replace(**other)
    (found,), _ = of_ia3(methods("ia3", 500), {("energy", where): Saving(0.3, 0.1, 0.5, *MEASURED)})

    assert found.verdict == OPEN
    assert found.reason.endswith("its loss of accuracy was not tested on this configuration")


def test_a_measurement_on_a_look_alike_is_said_to_be_none_on_a_real_task(methods):
    saved = Saving(-0.3, -0.5, -0.1, *MEASURED)
    where = HERE._replace(task="lookalike_fpb")
    (found,), (real, generated) = of_ia3(methods("ia3", 500), {("energy", where): saved})

    assert (found.verdict, generated.said) == (FAILED, "passed on 0 of 1")
    assert (real.verdict, real.said) == (OPEN, "not measured on a real task")


def test_a_comparison_of_accuracy_names_the_kind_of_its_interval(three):
    assert verdict_of(only(C1), three(250, 500, 500)).ci_kind in ("t over seeds", "item clusters")


def test_numbers_are_those_of_the_table(runs):
    table = report.contrasts(runs)
    for found in judged(STATED, runs):
        where = {name: getattr(found, name) for name in ("task", "method", "partition", "metric")}
        where["contrast"] = found.contrast
        rows = [row for row in table.to_dict("records") if where.items() <= row.items()]

        assert (found.mean, found.low, found.high) == tuple(
            rows[0][name] for name in ("mean", "ci_low", "ci_high")
        )


def test_a_part_holds_if_it_holds_wherever_it_is_decided(three):
    runs = [
        *three(250, 500, 500),
        *three(440, 500, 500, backbone="owner/small"),
        *three(400, 500, 500, task="lookalike_medqa"),
    ]
    real, generated = summaries(only(C1), judged(only(C1), runs))

    assert (real.verdict, real.said) == ("holds where decided", "holds on 1 of 2, 1 not decided")
    assert (generated.verdict, generated.said) == (PASSED, "passed on 1 of 1")


@pytest.mark.parametrize("part", [part.name for part in C2.parts])
@pytest.mark.parametrize(("local", "federated"), [(200, 300), (300, 200)])
def test_settings_without_skill_are_not_compared(answered, part, local, federated):
    """The commonest answer is right on 334 of a thousand items: neither gives more than that."""
    sides = {"local": local, "federated": federated}
    runs = [answered(s, n, seed) for s, n in sides.items() for seed in range(3)]
    found = verdict_of(only(C2, part), runs)

    assert found.verdict == SMALL
    assert "neither federated nor local is shown to beat the training majority" in found.reason
    assert found.p is None


def test_one_setting_with_skill_is_enough_to_compare_two(answered):
    runs = [answered(s, n, k) for s, n in (("local", 500), ("federated", 200)) for k in range(3)]
    assert verdict_of(only(C2, C2.parts[0].name), runs).verdict == FAILS


def test_a_part_does_not_hold_if_it_fails_anywhere(three):
    runs = [*three(250, 500, 500), *three(400, 500, 440, backbone="owner/other")]
    (found,) = summaries(only(C1), judged(only(C1), runs))

    assert (found.verdict, found.said) == (FAILS, "holds on 1 of 2")


def test_a_part_that_is_decided_nowhere_is_not_decided(three):
    small = three(440, 500, 500)
    open_ = three(400, 500, 470, backbone="owner/other")

    for runs, word in ((small, SMALL), ([*small, *open_], OPEN)):
        (found,) = summaries(only(C1), judged(only(C1), runs))
        assert (found.verdict, found.decided) == (word, 0)


def test_a_profile_without_such_a_comparison_says_so(answered):
    (found,) = summaries(only(C1), judged(only(C1), [answered("base", 250)]))

    assert (found.verdict, found.said) == (OPEN, "the profile plans no such comparison")


def test_every_word_for_real_tasks_has_its_own_for_look_alikes():
    assert judging._OF_LOOKALIKES.keys() == {HOLDS, FAILS, OPEN, SMALL}
    assert Part.model_fields.keys() >= {"test", "metric", "of", "to", "evidence"}


@pytest.mark.parametrize(
    "other",
    [
        {"rule": "flexlora"},
        {"own_passes": 1},
        {"optimizer": "sgd"},
        {"partition": SKEWED.model_copy(update={"ranks": (16, 4)})},
    ],
)
def test_only_fedavg_with_one_adapter_and_the_usual_optimizer_is_judged_as_federated(
    three, answered, other
):
    runs = three(base=250, centralized=500, federated=500)
    more = [answered("federated", 300, seed, **other) for seed in range(3)]

    assert judged(only(C1), [*runs, *more]) == judged(only(C1), runs)
    assert judged(only(C3), more) == []


def test_a_setting_is_compared_with_another_that_had_the_same_optimizer(three, answered):
    runs = three(base=250, centralized=500, federated=500)
    plain = [answered("centralized", 900, seed, optimizer="sgd") for seed in range(3)]

    assert judged(only(C1), [*runs, *plain]) == judged(only(C1), runs)
