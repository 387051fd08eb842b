"""Rules that withstand a hostile site, against sums done by hand."""

from __future__ import annotations

import pytest
import torch

from fedbench.rules import RULES

from .rounds import moves, rounds

START = {"w": torch.zeros(2), "v": torch.zeros(1, 1)}


def site(x, y, z=0.0, examples=1):
    return moves({"w": torch.tensor([x, y]), "v": torch.tensor([[z]])}), examples


def after(text, *sites):
    return rounds(text, START, [list(sites)])["w"].tolist()


def test_the_median_of_an_odd_number_is_the_middle_one_coordinate_by_coordinate():
    assert after("median", site(1.0, 9.0), site(2.0, -5.0), site(100.0, 1.0)) == [2.0, 1.0]


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two():
    sites = [site(x, 0.0) for x in (1.0, 2.0, 4.0, 100.0)]
    assert after("median", *sites) == [3.0, 0.0]


def test_the_trimmed_mean_leaves_out_both_ends():
    sites = [site(x, 0.0) for x in (-50.0, 1.0, 2.0, 3.0, 100.0)]
    assert after("trimmed-mean:share=0.2", *sites) == [2.0, 0.0]
    assert after("trimmed-mean:share=0.19", *sites) == pytest.approx([11.2, 0.0])


def test_krum_takes_the_update_that_stands_closest_to_its_nearest():
    # Distances squared between 0, 1, 3, 100: of 4 sites the one nearest other counts.
    assert after("krum:hostile=1", *[site(x, 0.0) for x in (0.0, 1.0, 3.0, 100.0)]) == [0.0, 0.0]
    # Of 5 sites the two nearest: 0 gets 1 + 9, 1 gets 1 + 4, 3 gets 4 + 1; the first of equals.
    five = [site(x, 0.0) for x in (0.0, 1.0, 3.0, 4.5, 100.0)]
    assert after("krum:hostile=1", *five) == [1.0, 0.0]


def test_multi_krum_takes_the_mean_of_several():
    five = [site(x, 0.0) for x in (0.0, 1.0, 3.0, 4.5, 100.0)]
    assert after("krum:hostile=1,keep=2", *five) == [2.0, 0.0]


def test_krum_measures_the_whole_update_not_tensor_by_tensor():
    """Norms added up tensor by tensor would prefer the first site (1 + 1 < sqrt(4.41))."""
    sites = [site(0.0, 0.0, 0.0), site(1.0, 0.0, 1.0), site(0.0, 0.0, 2.1), site(50.0, 0.0, 50.0)]
    # From the first: 1 + 1 = 2 squared, or 2.1 squared = 4.41; the second is nearest, and they
    # are each other's nearest.
    assert after("krum:hostile=1", *sites) == [0.0, 0.0]
    sites = [site(0.0, 0.0, 3.0), site(1.5, 0.0, 1.5), site(0.0, 0.0, 0.0), site(50.0, 0.0, 50.0)]
    # 1.5, 1.5 away (4.5 squared) is nearer than 3 (9 squared), though 1.5 + 1.5 = 3.
    assert after("krum:hostile=1,keep=2", *sites)[0] == pytest.approx(0.75)


def test_the_geometric_median_of_points_on_a_line_is_their_weighted_median():
    sites = [site(0.0, 0.0), site(1.0, 0.0), site(100.0, 0.0)]
    assert after("geometric-median:iterations=100", *sites) == pytest.approx([1.0, 0.0], abs=1e-3)
    heavy = [site(0.0, 0.0, examples=9), *sites[1:]]
    assert after("geometric-median:iterations=100", *heavy) == pytest.approx([0.0, 0.0], abs=1e-3)


def test_one_step_towards_the_geometric_median_weights_by_distance_from_the_mean():
    found = after("geometric-median:iterations=1", site(0.0, 0.0), site(3.0, 0.0), site(9.0, 0.0))
    weights = [1 / 4, 1 / 1, 1 / 5]
    assert found[0] == pytest.approx((3 * weights[1] + 9 * weights[2]) / sum(weights))


def test_an_update_is_shortened_to_the_bound_and_no_other_is_changed():
    found = after("norm-clipping:norm=5", site(3.0, 4.0), site(30.0, 40.0), site(0.0, 2.0))
    assert found == pytest.approx([(3 + 3) / 3, (4 + 4 + 2) / 3])


def test_without_a_bound_the_median_norm_is_one():
    found = after("norm-clipping", site(1.0, 0.0), site(0.0, 2.0), site(90.0, 0.0))
    assert found == pytest.approx([(1 + 2) / 3, 2 / 3])


def test_the_norm_is_over_all_tensors_together():
    found = after("norm-clipping:norm=2.5", site(3.0, 0.0, 4.0))
    assert found == pytest.approx([1.5, 0.0])


def test_an_outlier_counts_by_how_many_median_distances_it_is_away():
    found = after("outlier-weighting", *[site(x, 0.0) for x in (-1.0, 0.0, 1.0, 0.0, 10.0)])
    # The centre is 0; distances 1, 0, 1, 0, 10 have the median 1, so only the last counts a tenth.
    assert found == pytest.approx([(10 * 0.1) / 4.1, 0.0])


@pytest.mark.parametrize("name", ["median", "trimmed-mean", "krum", "geometric-median",
                                  "norm-clipping", "outlier-weighting"])  # fmt: skip
def test_one_hostile_site_of_seven_moves_a_robust_rule_less_than_the_mean(name):
    honest = [site(1.0 + 0.1 * k, 0.0) for k in range(-3, 3)]
    hostile = [*honest, site(-1000.0, 500.0)]
    moved = torch.tensor(after(name, *hostile)) - torch.tensor([1.0, 0.0])
    mean = torch.tensor(after("fedavg", *hostile)) - torch.tensor([1.0, 0.0])
    assert name in RULES
    assert moved.norm() < 0.05 * mean.norm()
