"""Accuracy and macro-F1 from indices of choices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[Any]


def accuracy(gold: Indices, prediction: Indices) -> float:
    """Share of items whose prediction is the gold choice; nan without items."""
    return float(np.mean(gold == prediction)) if len(gold) else float("nan")


def macro_f1(gold: Indices, prediction: Indices) -> float:
    """Mean over the gold classes of the F1 of each; a class never predicted counts zero."""
    return float(np.mean([_f1(gold == c, prediction == c) for c in np.unique(gold)]))


def _f1(gold: Indices, predicted: Indices) -> float:
    hits = np.sum(gold & predicted)
    return float(2 * hits / (np.sum(gold) + np.sum(predicted)))
