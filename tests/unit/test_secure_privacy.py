"""Secure sums of private sites: rounding to steps never moves a sum by more than the clip."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fedbench.engines.in_process import InProcess
from fedbench.errors import FedbenchError
from fedbench.masking import fixed_point, words_of
from fedbench.privacy.clipping import clipped, norm
from fedbench.secure_aggregation import decoded, encoded
from tests import bigram
from tests.unit.test_federation import run, same
from tests.unit.test_secure_round import HELD, asked, assert_near

SITES, NUMBERS, CLIP = 1000, 200_000, 0.01
PRIVATE = {"unit": "site", "clip": CLIP, "noise": 1.0}


def configured(privacy=PRIVATE, **secure):
    """Private sites under masks."""
    return bigram.config(privacy=privacy, secure={"bound": 1.0, **secure}, sites=5, passes=3)


def worst(scheme):
    """Vectors that rounding makes longest: as many numbers just above half a step as there can be.

    Of norms at the clip, and at what is left of it if every number may move by half a step.
    """
    random = np.random.default_rng(5)
    for aim in (CLIP, CLIP - scheme.unit * math.sqrt(NUMBERS) / 2):
        fewest = math.ceil(aim / scheme.unit / math.sqrt(NUMBERS))
        for steps in (fewest, fewest + 1, 2 * fewest, 10 * fewest):
            size = (steps + 0.5001) * scheme.unit
            many = math.floor((aim / size) ** 2)
            signs = random.choice([-1.0, 1.0], many)
            yield {"x": torch.from_numpy(np.append(signs * size, np.zeros(NUMBERS - many)))}
    for _ in range(3):
        yield {"x": torch.from_numpy(random.normal(scale=CLIP, size=NUMBERS))}


def moved_by(words, scheme):
    """By how much a vector of words moves a sum, as a norm; exact sums of whole numbers."""
    steps = words[:-1].view(words.dtype.str.replace("u", "i")).astype(float)
    return float(np.linalg.norm(steps)) * scheme.unit


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("greatest", [1.0, 1024.0])
def test_no_update_of_a_private_site_moves_the_sum_of_words_by_more_than_the_clip(greatest, bits):
    config = configured(greatest_weight=greatest, bits=bits)
    scheme = fixed_point(config.secure, SITES)
    found = [moved_by(words_of(config, u, 1.0, SITES), scheme) for u in worst(scheme)]
    assert 0.97 * CLIP < max(found) <= CLIP


def test_rounding_alone_would_move_the_sum_by_more():
    scheme = fixed_point(configured().secure, SITES)
    nearest = (encoded(clipped(u, CLIP), 1.0, scheme) for u in worst(scheme))
    assert max(moved_by(words, scheme) for words in nearest) > 1.005 * CLIP


def test_a_decoded_sum_of_many_moves_by_no_more_than_the_words_of_one_site():
    config = configured()
    scheme, shapes = fixed_point(config.secure, SITES), {"x": (NUMBERS,)}
    others = np.full(NUMBERS + 1, 700 * scheme.top + 12_345, dtype="<u4")
    without, _ = decoded(others, shapes, scheme)
    for update in worst(scheme):
        total, _ = decoded(others + words_of(config, update, 1.0, SITES), shapes, scheme)
        assert norm({"x": total["x"] - without["x"]}) <= CLIP * (1 + 1e-9)


def test_a_private_update_that_is_not_finite_is_refused_without_a_name():
    with pytest.raises(FedbenchError, match=r"^An update is not finite"):
        words_of(configured(), {"x": torch.tensor([1.0, math.inf])}, 1.0, 5)


def test_steps_that_are_too_coarse_for_the_clip_stop_the_run_before_anybody_trains(tmp_path):
    sent = []

    class Listening(InProcess):
        def exchange(self, messages, deadline=None):
            sent.append(messages)
            return super().exchange(messages, deadline)

    with pytest.raises(FedbenchError, match=r"steps of secure sums.*lower secure\.bound"):
        run(configured(bound=1e7), tmp_path, HELD, Listening)
    assert not sent
    with pytest.raises(FedbenchError, match=r"steps of secure sums.*lower secure\.bound"):
        words_of(configured(bound=1e7), {"x": torch.zeros(50)}, 1.0, 5)


@pytest.mark.parametrize("unit", ["site", "example"])
def test_where_all_count_alike_the_greatest_weight_takes_no_bits_away(unit):
    examples = {"examples": 3} if unit == "example" else {}
    privacy = {"unit": unit, "clip": 0.5, "noise": 1.0, **examples}
    update = {"x": torch.linspace(-0.1, 0.1, 9)}
    few, many = (
        words_of(configured(privacy, greatest_weight=greatest), update, 1.0, 5)
        for greatest in (1.0, 1e6)
    )
    assert few.tolist() == many.tolist()


def test_a_noised_sum_does_not_depend_on_the_greatest_weight(tmp_path):
    few, many = (
        run(configured(greatest_weight=greatest), tmp_path / str(greatest), HELD).adapter
        for greatest in (1.0, 1e6)
    )
    assert same(few, many)


def test_private_sites_clip_what_they_send_and_the_noise_is_added_to_the_sum(tmp_path):
    privacy = {"unit": "site", "clip": 0.5, "noise": 1.0}
    secure = {"bound": 0.5, "greatest_weight": 1.0}
    hidden = run(asked(secure, privacy=privacy), tmp_path / "hidden", HELD)
    plain = run(asked(None, privacy=privacy), tmp_path / "plain", HELD)
    assert_near(hidden.adapter, plain.adapter, 1e-4)
    assert [r["epsilon"] for r in hidden.log] == [r["epsilon"] for r in plain.log]
