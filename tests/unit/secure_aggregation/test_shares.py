"""Shares and keys: enough give the secret back, fewer do not, and altered ones are refused."""

from __future__ import annotations

import itertools
import secrets

import pytest

from fedbench.secure_aggregation import BadExchange
from fedbench.secure_aggregation.keys import agreed, derived, new_key, public_of
from fedbench.secure_aggregation.shares import OVERHEAD, combined, opened, sealed, split


@pytest.mark.parametrize("size", [16, 32])
def test_any_shares_as_many_as_the_threshold_give_the_secret_back(size):
    secret = secrets.token_bytes(size)
    shares = dict(enumerate(split(secret, 3, 5), start=1))
    for chosen in itertools.combinations(shares, 3):
        assert combined({index: shares[index] for index in chosen}) == secret


def test_fewer_shares_than_the_threshold_give_another_secret():
    secret = secrets.token_bytes(32)
    shares = dict(enumerate(split(secret, 4, 6), start=1))
    for chosen in itertools.combinations(shares, 3):
        wrong = combined({index: shares[index] for index in chosen})
        assert wrong[:16] != secret[:16]
        assert wrong[16:] != secret[16:]


def test_shares_below_the_threshold_go_with_every_secret():
    # With t - 1 shares of a secret, any value of a further share is possible, each with a secret.
    shares = dict(enumerate(split(b"sixteen letters.", 3, 3), start=1))
    two = {index: shares[index] for index in (1, 2)}
    found = {combined(two | {3: bytes([value]) * 16}) for value in range(64)}
    assert len(found) == 64


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
