"""The whole protocol through bytes: what comes out, and what the server can make of what it got."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from fedbench.secure_aggregation import (
    BadExchange,
    Blocks,
    TooFewSites,
    aggregate,
    collect,
    roster,
    unmasked,
)
from fedbench.wire import opened

from .attempts import scheme_of, terms_of

EXCHANGES = ("advertise", "share", "mask", "unmask")


def _vectors(terms, scheme, length=7):
    """Words of small numbers, as of updates."""
    random = np.random.default_rng(3)
    steps = random.normal(scale=1e-3, size=(len(terms.sites), length)) * scheme.top
    return dict(zip(terms.sites, steps.astype("<i8").astype(scheme.words), strict=True))


def _bodies(transcript, exchange):
    return {r.site: bytes(opened(r.payload)[1]) for r in transcript if r.exchange == exchange}


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_the_sum_is_over_all_whose_vector_arrived_and_exact(data):
    terms = terms_of(data.draw(st.integers(2, 8)))
    scheme = scheme_of(terms, bits=data.draw(st.sampled_from([32, 64])))
    can_go = len(terms.sites) - terms.threshold
    going = data.draw(st.permutations(terms.sites))[: data.draw(st.integers(0, can_go))]
    cut = data.draw(st.integers(0, len(going)))
    before, after = going[:cut], going[cut:]
    vectors = _vectors(terms, scheme)

    words, transcript = aggregate(vectors, terms, scheme, before, after)

    summed = [vectors[site] for site in terms.sites if site not in before]
    assert words.tolist() == np.sum(summed, axis=0, dtype=scheme.words).tolist()
    answered = {name: set(_bodies(transcript, name)) for name in EXCHANGES}
    assert answered["share"] == set(terms.sites)
    assert answered["mask"] == set(terms.sites) - set(before)
    assert answered["unmask"] == set(terms.sites) - set(going)


@pytest.mark.parametrize("when", ["drop_before", "drop_after"])
def test_one_more_dropping_out_than_the_threshold_allows_abandons_the_attempt(when):
    terms = terms_of(6)
    scheme = scheme_of(terms)
    can_go = 6 - terms.threshold
    aggregate(_vectors(terms, scheme), terms, scheme, **{when: terms.sites[:can_go]})
    with pytest.raises(TooFewSites):
        aggregate(_vectors(terms, scheme), terms, scheme, **{when: terms.sites[: can_go + 1]})


def test_all_that_a_server_received_and_one_share_too_few_do_not_make_the_sum():
    terms, length = terms_of(7), 20_000
    scheme = scheme_of(terms)
    vectors = _vectors(terms, scheme, length)
    words, transcript = aggregate(vectors, terms, scheme)
    keys = roster(terms, _bodies(transcript, "advertise"))
    shares = _bodies(transcript, "unmask")

    def collected():
        return collect(terms, terms.sites, _bodies(transcript, "mask").items(), length, scheme)

    def from_shares_of(count, threshold, collected):
        some = {site: shares[site] for site in terms.sites[:count]}
        return unmasked(replace(terms, threshold=threshold), keys, collected, some)

    enough = terms.threshold
    assert from_shares_of(enough, enough, collected()).tolist() == words.tolist()
    with pytest.raises(TooFewSites):
        from_shares_of(enough - 1, enough, collected())
    # A server that combines them all the same: the seeds are wrong, and the masks stay on.
    kept = collected()
    with pytest.raises(BadExchange, match="do not take all masks off"):
        from_shares_of(enough - 1, enough - 1, kept)
    forced = kept.total[:length]
    counts = np.bincount(np.frombuffer(forced.tobytes(), np.uint8), minlength=256)
    expected = forced.nbytes / 256
    assert ((counts - expected) ** 2 / expected).sum() < chi2.isf(1e-6, 255)
    assert (forced == words).mean() < 0.001


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("bit", range(0, 4 * 128, 37))
def test_one_wrong_bit_in_one_share_of_any_seed_gives_no_sum(bit, bits):
    terms = terms_of(4)
    scheme = scheme_of(terms, bits=bits)
    _, transcript = aggregate(_vectors(terms, scheme), terms, scheme)
    revealed = _bodies(transcript, "unmask")
    spoiled = bytearray(revealed["site-00"])
    spoiled[bit // 8] ^= 1 << bit % 8
    masked = _bodies(transcript, "mask").items()
    collected = collect(terms, terms.sites, masked, 7, scheme)
    keys = Blocks.of(_bodies(transcript, "advertise"))
    with pytest.raises(BadExchange, match="do not take all masks off"):
        unmasked(terms, keys, collected, revealed | {"site-00": bytes(spoiled)})


def test_a_vector_that_does_not_end_with_zeros_gives_no_sum():
    terms = terms_of(4)
    scheme = scheme_of(terms)
    _, transcript = aggregate(_vectors(terms, scheme), terms, scheme)
    masked = _bodies(transcript, "mask")
    masked["site-02"] = masked["site-02"][:-1] + bytes([masked["site-02"][-1] ^ 1])
    collected = collect(terms, terms.sites, masked.items(), 7, scheme)
    keys = Blocks.of(_bodies(transcript, "advertise"))
    with pytest.raises(BadExchange, match="do not take all masks off"):
        unmasked(terms, keys, collected, _bodies(transcript, "unmask"))


def test_what_was_received_does_not_show_its_bytes():
    terms = terms_of(2)
    scheme = scheme_of(terms)
    transcript = aggregate(_vectors(terms, scheme), terms, scheme)[1]
    assert "payload" not in repr(transcript)
