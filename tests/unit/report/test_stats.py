"""Closed forms, and what must not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.special import stdtr, stdtrit

from fedbench.report import stats


def share(right, clusters=None, seeds=(0,)):
    """The estimate of a mean from [items, seeds] of zeros and ones."""
    values = np.atleast_2d(np.asarray(right, dtype=float).T).T
    names = list(map(str, range(len(values)))) if clusters is None else list(map(str, clusters))
    order = sorted(set(names))
    counts = np.zeros((len(order), values.shape[1], 2))
    for name, row in zip(names, values, strict=True):
        counts[order.index(name), :, 0] += row
        counts[order.index(name), :, 1] += 1
    return stats.estimate(counts, ratio, seeds, order)


def ratio(counts):
    right, items = counts[..., 0], counts[..., 1]
    return np.divide(right, items, out=np.full_like(right, np.nan), where=items > 0)


def test_the_seed_interval_is_the_textbook_one():
    found = stats.seed_interval(np.array([0.60, 0.70, 0.80]))

    assert found.mean == pytest.approx(0.7)
    assert found.high - found.mean == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert found.kind == "t over seeds"


def test_without_clusters_the_item_error_is_that_of_a_mean():
    right = np.array([1, 1, 1, 0, 0, 1, 0, 1])

    assert share(right).error == pytest.approx(right.std(ddof=1) / math.sqrt(8))


def test_items_that_agree_within_clusters_count_as_one():
    single = share([1, 1, 0, 1, 0, 0])
    doubled = share([1, 1, 0, 1, 0, 0] * 2, clusters=[*range(6), *range(6)])

    assert doubled.error == pytest.approx(single.error)


def test_the_wider_interval_is_taken_and_named():
    agreeing = share(np.repeat([[1, 1, 1], [0, 0, 0]], 10, axis=0), seeds=(0, 1, 2))
    steady = np.tile([1, 0], 200)
    wobbling = share(np.stack([steady, 1 - steady * 0, steady], axis=1), seeds=(0, 1, 2))

    assert stats.interval(agreeing).kind == "item clusters"
    assert stats.interval(wobbling).kind == "t over seeds"


def test_one_seed_has_an_interval_over_items_only():
    assert stats.interval(share([1, 0, 1, 0])).kind == "item clusters"


def test_an_untuned_backbone_has_no_seed_interval():
    score = stats.without_seeds(share(np.eye(6)[:, :3], seeds=(0, 1, 2)))

    assert score.seeds == ()
    assert stats.interval(score).kind == "item clusters"


def test_all_items_right_is_not_certainty():
    found = stats.item_interval(share(np.ones(50)))

    assert found.high == 1.0
    assert found.low == pytest.approx(0.025 ** (1 / 50))


def test_all_items_wrong_is_not_certainty():
    found = stats.item_interval(share(np.zeros(50)))

    assert found.low == 0.0
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 50))


def test_two_models_that_agree_on_every_item_may_still_differ():
    difference = stats.minus(share([1, 0] * 25), share([1, 0] * 25))

    assert difference is not None
    found = stats.item_interval(difference)
    assert (found.low, found.high) == pytest.approx((-0.0711, 0.0711), abs=1e-3)
    assert stats.smallest_difference(found) > 0


def test_a_difference_is_paired_over_items():
    left, right = np.array([1, 1, 0, 1, 0, 1.0]), np.array([1, 0, 0, 1, 0, 0.0])
    difference = stats.minus(share(left), share(right))

    assert difference is not None
    assert difference.mean == pytest.approx((left - right).mean())
    assert difference.error == pytest.approx((left - right).std(ddof=1) / math.sqrt(6))


def test_a_difference_uses_the_seeds_of_both():
    left = share(np.eye(4)[:, :3], seeds=(0, 1, 2))
    right = share(np.ones((4, 2)), seeds=(1, 5))
    difference = stats.minus(left, right)

    assert difference is not None
    assert difference.seeds == (1,)
    assert difference.mean == pytest.approx(0.25 - 1)


def test_without_a_common_seed_there_is_no_difference():
    assert stats.minus(share([1, 0], seeds=(0,)), share([1, 0], seeds=(1,))) is None


def test_an_untuned_backbone_is_compared_with_every_seed():
    base = stats.without_seeds(share([0, 0, 1, 1]))
    difference = stats.minus(share(np.ones((4, 3)), seeds=(0, 1, 2)), base)

    assert difference is not None
    assert difference.seeds == (0, 1, 2)
    assert difference.per_seed.tolist() == [0.5, 0.5, 0.5]


def test_the_test_against_a_reference_is_a_one_sided_t_test():
    gain = np.array([1, 1, 1, 0, 1, -1, 1, 0, 1, 1.0])
    difference = stats.minus(share(gain), share(np.zeros(10)))

    assert difference is not None
    ratio = gain.mean() / (gain.std(ddof=1) / math.sqrt(10))
    assert ratio == pytest.approx(2.7136, abs=1e-3)
    assert stats.p_above(difference) == pytest.approx(0.01195, abs=1e-4)


def test_equal_predictors_are_never_above_each_other():
    difference = stats.minus(share([1, 0, 1]), share([1, 0, 1]))

    assert difference is not None
    assert stats.p_above(difference) == 1.0


def test_a_gain_on_every_cluster_has_the_p_value_of_the_sign_test():
    difference = stats.minus(share(np.ones(6)), share(np.zeros(6)))

    assert difference is not None
    assert stats.p_above(difference) == 0.5**6


def test_holm_multiplies_the_smallest_by_their_number_and_never_falls():
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_holm_leaves_what_was_not_tested_alone():
    adjusted = stats.holm([math.nan, 0.02, math.nan, 0.5])

    assert adjusted[1] == pytest.approx(0.04)
    assert math.isnan(adjusted[0])
    assert math.isnan(adjusted[2])


def test_holm_of_nothing_is_nothing():
    assert stats.holm([]) == []


def test_the_smallest_difference_is_that_of_bloom():
    found = stats.Interval(0.0, -1.96, 1.96, "item clusters", freedom=10_000_000)

    assert stats.smallest_difference(found) == pytest.approx(1.96 + 0.8416, abs=1e-3)


@pytest.mark.parametrize(("tests", "errors"), [(1, 5.36), (9, 14.42), (16, 18.91)])
def test_three_seeds_over_many_tests_show_only_what_is_large(tests, errors):
    """The quantiles of Student's t with two degrees of freedom have the closed form below."""

    def quantile(share):
        return (2 * share - 1) / math.sqrt(2 * share * (1 - share))

    half = quantile(0.975)
    found = stats.Interval(0.0, -half, half, stats.OVER_SEEDS, freedom=2)
    expected = quantile(1 - 0.025 / tests) + quantile(0.8)

    assert stats.smallest_difference(found, tests) == pytest.approx(expected, rel=1e-6)
    assert expected == pytest.approx(errors, abs=0.02)


@pytest.mark.parametrize("tests", [1, 5])
def test_the_smallest_difference_is_seen_after_adjustment_as_often_as_the_power_says(tests):
    freedom = 200
    half = float(stdtrit(freedom, 0.975))
    true = stats.smallest_difference(stats.Interval(0, -half, half, "", freedom), tests)
    drawn = true + np.random.default_rng(0).standard_t(freedom, 20_000)
    p = 2 * stdtr(freedom, -np.abs(drawn))

    assert np.mean(tests * p < 0.05) == pytest.approx(stats.POWER, abs=0.01)


def test_one_cluster_can_show_nothing():
    found = stats.interval(share([1, 0, 1], clusters=[0, 0, 0]))

    assert found.width == math.inf
    assert stats.smallest_difference(found) == math.inf


answers = some.lists(some.tuples(some.booleans(), some.integers(0, 4)), min_size=6, max_size=40)


@given(answers, some.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_items_changes_nothing(items, random):
    shuffled = random.sample(items, len(items))
    if len({cluster for _, cluster in items}) < 2:
        return
    one, two = (share([r for r, _ in x], [c for _, c in x]) for x in (items, shuffled))

    assert stats.interval(one).low == pytest.approx(stats.interval(two).low)
    assert stats.interval(one).high == pytest.approx(stats.interval(two).high)


@given(some.lists(some.floats(0, 1), max_size=20))
@settings(deadline=None)
def test_holm_keeps_the_order_and_never_lowers_a_p_value(values):
    adjusted = stats.holm(values)
    ranked = [a for _, a in sorted(zip(values, adjusted, strict=True))]

    assert all(p - 1e-12 <= a <= 1 for p, a in zip(values, adjusted, strict=True))
    assert ranked == sorted(ranked)


def test_ninety_five_of_a_hundred_intervals_hold_the_truth():
    generator = np.random.default_rng(0)
    facts = generator.random((400, 60)) < 0.6  # all three items of a fact share its fate
    found = [
        stats.interval(share(np.repeat(row, 3), clusters=np.repeat(range(60), 3))) for row in facts
    ]

    assert 0.92 <= np.mean([each.low <= 0.6 <= each.high for each in found]) <= 0.98


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_that_of_the_literature(successes, count, low, high):
    found = stats.wilson(successes / count, count)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert found.kind == stats.ONE_PROPORTION


def test_mcnemar_counts_only_items_on_which_two_models_differ():
    left, right = [True] * 9 + [False], [False] * 9 + [True]
    # 2 * P(X <= 1), X binomial with 10 trials of one half: 2 * 11 / 1024.
    assert stats.mcnemar(left, right) == pytest.approx(22 / 1024)
    agreed = [True] * 50
    assert stats.mcnemar(left + agreed, right + agreed) == pytest.approx(22 / 1024)
    assert stats.mcnemar(right, left) == pytest.approx(22 / 1024)
    assert stats.mcnemar(agreed, agreed) == 1.0


def test_half_and_half_is_no_difference():
    assert stats.mcnemar([True, False], [False, True]) == 1.0


@pytest.mark.parametrize(("of_seeds", "of_items"), [(0.0, 0.25), (0.05, 0.0), (0.03, 0.25)])
def test_the_wider_interval_covers_a_mean_that_seeds_and_items_both_move(of_seeds, of_items):
    """Crossed random effects, five seeds and 60 clusters: at least nine in ten are covered.

    Neither interval counts both sources; that the wider one loses little where both matter is
    what its use rests on.
    """
    random, covered, draws = np.random.default_rng(0), 0, 400
    for _ in range(draws):
        values = (
            0.5
            + of_seeds * random.standard_normal((1, 5))
            + of_items * random.standard_normal((60, 1))
            + 0.1 * random.standard_normal((60, 5))
        )
        found = stats.interval(share(values, seeds=range(5)))
        covered += found.low <= 0.5 <= found.high
    assert covered / draws >= 0.9


@pytest.mark.parametrize(("same", "bound"), [(0.0, -0.03), (0.0, -0.2), (1.0, 0.0), (0.5, -0.1)])
def test_where_all_clusters_agree_the_p_value_is_the_greatest_under_the_hypothesis(same, bound):
    """Brute force over differences of -1, 0, ``same`` and 1 whose mean is at most the bound."""
    count = 4
    shares = np.linspace(0, 1, 41)
    most = max(
        of_same**count
        for of_same in shares
        for of_loss in shares
        if of_same + of_loss <= 1 and same * of_same - of_loss <= bound + 1e-12
    )
    agreed = stats.Estimate(
        (0,), ("a", "b", "c", "d"), np.array([same]), np.full((4, 1), same), count, bounded=False
    )
    found = stats.p_above(agreed, bound)
    assert found == pytest.approx(((1 + bound) / (1 + same)) ** count)
    assert most <= found + 1e-12
    assert found - most < 0.1


def test_a_bound_moves_what_is_tested_as_much_as_the_difference():
    left_out = np.array([[0.1], [0.12], [0.09], [0.11]])
    one = stats.Estimate((0,), tuple("abcd"), np.array([0.105]), left_out, 4, bounded=False)
    moved = stats.Estimate(
        (0,), tuple("abcd"), np.array([0.055]), left_out - 0.05, 4, bounded=False
    )
    assert stats.p_above(one, 0.05) == pytest.approx(stats.p_above(moved))
