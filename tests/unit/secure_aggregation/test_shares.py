"""Shares and keys: enough give the secret back, fewer say nothing, altered ones are refused."""

from __future__ import annotations

import itertools
import secrets

import numpy as np
import pytest
from scipy.stats import chi2

from fedbench.secure_aggregation import BadExchange
from fedbench.secure_aggregation.keys import agreed, derived, new_key, public_of
from fedbench.secure_aggregation.shares import OVERHEAD, combined, opened, sealed, split

from .secrecy import completing


@pytest.mark.parametrize("size", [16, 32])
def test_any_shares_as_many_as_the_threshold_give_the_secret_back(size):
    secret = secrets.token_bytes(size)
    shares = dict(enumerate(split(secret, 3, 5), start=1))
    for chosen in itertools.combinations(shares, 3):
        assert combined({index: shares[index] for index in chosen}) == secret


def test_with_one_share_too_few_every_secret_is_as_possible_as_the_true_one():
    secret = secrets.token_bytes(32)
    shares = dict(enumerate(split(secret, 4, 6), start=1))
    thinkable = (
        secret,
        secret[:16] + bytes(16),  # half of it, or all of it but a bit, is not known either
        bytes(16) + secret[16:],
        bytes([secret[0] ^ 1]) + secret[1:],
        bytes(32),
        secrets.token_bytes(32),
    )
    for chosen in itertools.combinations(shares, 3):
        known = {index: shares[index] for index in chosen}
        missing = next(index for index in shares if index not in chosen)
        for other in thinkable:
            assert combined(known | {missing: completing(known, other, missing)}) == other
        assert completing(known, secret, missing) == shares[missing]


@pytest.mark.parametrize("secret", [bytes(16), b"\xff" * 16, b"sixteen letters."])
def test_shares_below_the_threshold_are_uniform_whatever_the_secret(secret):
    # So are what any two of them have in common: were coefficients small or used twice, or a part
    # of the secret in the clear, some byte would come too often.
    seen = [split(secret, 3, 3) for _ in range(1000)]
    for one, other in itertools.combinations(range(3), 2):
        first, second = (b"".join(shares[n] for shares in seen) for n in (one, other))
        both = bytes(a ^ b for a, b in zip(first, second, strict=True))
        for content in (first, second, both):
            for place in (slice(None), slice(0, None, 16), slice(15, None, 16)):
                counts = np.bincount(np.frombuffer(content[place], np.uint8), minlength=256)
                expected = len(content[place]) / 256
                assert ((counts - expected) ** 2 / expected).sum() < chi2.isf(1e-9, 255)


def test_a_sealed_share_is_longer_by_what_is_documented_and_opens():
    key = secrets.token_bytes(32)
    blob = sealed(key, b"for b", b"share")
    assert len(blob) == len(b"share") + OVERHEAD
    assert opened(key, b"for b", blob, "a") == b"share"


@pytest.mark.parametrize("position", [0, 12, -1])
def test_an_altered_share_is_refused_with_the_name_of_who_sent_it(position):
    key = secrets.token_bytes(32)
    blob = bytearray(sealed(key, b"for b", b"share"))
    blob[position] ^= 1
    with pytest.raises(BadExchange, match="site-a sent was altered"):
        opened(key, b"for b", bytes(blob), "site-a")


def test_a_share_for_another_site_is_refused():
    key = secrets.token_bytes(32)
    with pytest.raises(BadExchange, match="not for this site"):
        opened(key, b"for c", sealed(key, b"for b", b"share"), "a")


def test_both_ends_agree_on_a_key_that_depends_on_what_it_is_for():
    one, other = new_key(), new_key()
    ours = agreed(one, public_of(other), b"masks", "other")
    assert ours == agreed(other, public_of(one), b"masks", "one")
    assert ours != agreed(one, public_of(other), b"shares", "other")
    assert derived(bytes(16), b"x") != derived(bytes(16), b"y")


def test_a_public_key_that_is_none_is_refused_with_its_owner():
    for bad in (bytes(32), bytes(5)):
        with pytest.raises(BadExchange, match="What site-b advertised"):
            agreed(new_key(), bad, b"masks", "site-b")
