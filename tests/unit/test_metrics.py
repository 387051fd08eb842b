"""Accuracy and macro-F1, against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedbench.metrics import accuracy, macro_f1

GOLD = np.array([0, 0, 1, 2])
PREDICTION = np.array([0, 1, 1, 1])


def test_accuracy_is_the_share_of_right_predictions():
    assert accuracy(GOLD, PREDICTION) == 0.5


def test_accuracy_of_nothing_is_not_a_number():
    assert math.isnan(accuracy(np.array([]), np.array([])))


def test_macro_f1_is_the_mean_over_gold_classes():
    # class 0: precision 1, recall 1/2; class 1: precision 1/3, recall 1; class 2: never predicted
    assert macro_f1(GOLD, PREDICTION) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_an_invalid_output_is_wrong_and_no_class_of_its_own():
    assert macro_f1(np.array([0, 1]), np.array([0, -1])) == 0.5
    assert accuracy(np.array([0, 1]), np.array([0, -1])) == 0.5
