"""What a server receives tells nothing of any one site, and nothing of it comes twice."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from scipy.stats import chi2

from fedbench.secure_aggregation import FixedPoint, Reveal, advertise, deliveries, mask
from fedbench.secure_aggregation.keys import KEY, agreed, derived
from fedbench.secure_aggregation.masks import shift
from fedbench.secure_aggregation.shares import combined
from fedbench.secure_aggregation.site import PUBLIC, SEED

from .attempts import attempt, scheme_of, terms_of
from .secrecy import completing

LENGTH = 20_000
#: a false alarm once in a million vectors; what is not masked lies far beyond
UNIFORM = chi2.isf(1e-6, 255)


def _plain(terms, scheme):
    """Small numbers, as updates are: nearly all of their high bytes are alike."""
    random = np.random.default_rng(2)
    return {
        site: (random.normal(scale=1e-3, size=LENGTH) * scheme.top)
        .astype(np.int64)
        .astype(scheme.words)
        for site in terms.sites
    }


def _chi_square(body):
    counts = np.bincount(np.frombuffer(body, np.uint8), minlength=256)
    expected = len(body) / 256
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("bits", [32, 64])
def test_every_vector_that_a_server_receives_looks_uniform_and_like_no_plain_one(bits):
    terms = terms_of(4)
    scheme = scheme_of(terms, bits=bits)
    plain = _plain(terms, scheme)
    _, seen = attempt(terms, plain, scheme)
    for site, body in seen.vectors.items():
        assert _chi_square(plain[site].tobytes()) > 10 * UNIFORM  # the test can tell
        assert _chi_square(body) < UNIFORM
        masked = np.frombuffer(body, scheme.words)[:LENGTH].astype(float)
        for other in plain.values():
            signed = other.view(scheme.words.str.replace("u", "i")).astype(float)
            assert abs(np.corrcoef(masked, signed)[0, 1]) < 5 / np.sqrt(LENGTH)


def test_a_vector_that_arrives_too_late_stays_hidden_although_the_key_of_its_site_is_known():
    # Once a site is declared missing the server learns its key, so every mask that it has in common
    # with others. Its own mask is still on, and no share of that seed was revealed.
    terms = terms_of(4)
    scheme = scheme_of(terms)
    plain = _plain(terms, scheme)["site-03"]
    _, seen = attempt(terms, _plain(terms, scheme), scheme, [[], [], ["site-03"], []])
    state = seen.privates["site-03"]
    late = mask(state, deliveries(terms, seen.roster, seen.shares)["site-03"], plain)[1]
    keys = seen.roster.each(PUBLIC)
    for other in terms.sites[:3]:
        info = terms.info("common mask", other, "site-03")
        shift(late, agreed(state.masking, keys[other][KEY:], info, other), 1)
    assert _chi_square(late.tobytes()) < UNIFORM
    shift(late, derived(state.seed, terms.info("own mask", "site-03")), -1)
    assert late[:LENGTH].tolist() == plain.tolist()
    assert not late[LENGTH:].any()


def test_fewer_shares_than_the_threshold_reveal_nothing_of_a_seed_or_a_key():
    terms = terms_of(6)
    scheme = scheme_of(terms)
    _, seen = attempt(terms, _plain(terms, scheme), scheme, [[], [], ["site-05"], []])
    index = {site: terms.sites.index(site) + 1 for site in seen.revealed}
    start = SEED * len(seen.collected.reveal.arrived)
    seed, key = slice(0, SEED), slice(start, start + KEY)  # of site-00, and of site-05

    def shares(sites, of):
        return {index[site]: seen.revealed[site][of] for site in sites}

    enough, fewer = (sorted(index)[: terms.threshold - less] for less in (0, 1))
    last = index[enough[-1]]
    true = seen.privates["site-05"].masking  # it shared, then fell silent
    assert combined(shares(enough, key)) == true
    for other in (true[:16] + bytes(16), bytes(16) + true[16:], bytes([true[0] ^ 1]) + true[1:]):
        known = shares(fewer, key)
        assert combined(known | {last: completing(known, other, last)}) == other
    known, true = shares(fewer, seed), combined(shares(enough, seed))
    for other in (bytes(16), true[:8] + bytes(8), bytes([true[0] ^ 1]) + true[1:]):
        assert combined(known | {last: completing(known, other, last)}) == other


def test_no_secret_and_no_share_is_among_what_a_server_receives_before_the_last_exchange():
    terms = terms_of(4)
    scheme = scheme_of(terms)
    _, seen = attempt(terms, _plain(terms, scheme), scheme, [[], [], ["site-03"], []])
    received = b"".join(
        (*seen.keys.values(), *(each.body for each in seen.shares.values()), *seen.vectors.values())
    )
    state = seen.privates["site-03"]
    own_share = state.shares.body
    for secret in (state.cipher, state.masking, state.seed, own_share[:SEED], own_share[SEED:]):
        assert secret not in received


def test_a_server_never_gets_both_kinds_of_share_of_one_site():
    terms = terms_of(5)
    scheme = scheme_of(terms)
    _, seen = attempt(terms, _plain(terms, scheme), scheme, [[], [], ["site-04"], []])
    asked = seen.collected.reveal
    assert not set(asked.arrived) & set(asked.missing)
    assert asked == Reveal(terms.sites[:4], terms.sites[4:])


@pytest.mark.parametrize(
    "change", [{"round_": 4}, {"attempt": 1}, {"run": "other"}, {}], ids=lambda c: next(iter(c), "")
)
def test_masks_do_not_repeat_across_rounds_attempts_runs_or_a_rerun(change):
    first, second = terms_of(3), terms_of(3, **change)
    scheme = scheme_of(first)
    vectors = _plain(first, scheme)
    seen = [attempt(terms, vectors, scheme)[1] for terms in (first, second)]
    for site in first.sites:
        one, other = (np.frombuffer(each.vectors[site], scheme.words) for each in seen)
        assert (one == other).mean() < 0.001
        assert seen[0].keys[site] != seen[1].keys[site]


def test_what_a_secret_is_for_differs_by_everything_that_it_is_bound_to():
    infos = [
        terms.info(purpose, *sites)
        for terms in (
            terms_of(3),
            terms_of(3, round_=4),
            terms_of(3, attempt=1),
            terms_of(3, run="other"),
        )
        for purpose in ("share", "common mask")
        for sites in (("a", "b"), ("b", "a"), ("a,b",), ('a", "b',))
    ]
    assert len(set(infos)) == len(infos)


def test_no_secret_is_shown_or_logged(caplog):
    caplog.set_level(logging.DEBUG)
    terms = terms_of(4)
    scheme = FixedPoint(4, 1.0)
    _, seen = attempt(terms, _plain(terms, scheme), scheme, [[], [], ["site-03"], []])
    fresh = advertise(terms, "site-00")[0]
    shared = seen.privates["site-03"]
    shown = repr((fresh, shared, list(seen.privates.values()), seen.shares)) + caplog.text
    for secret in (fresh.cipher, fresh.masking, shared.cipher, shared.masking, shared.seed):
        assert repr(secret) not in shown
        assert secret.hex() not in shown
    for blocks in (shared.shares, shared.roster, *seen.shares.values()):
        assert repr(blocks.body)[2:40] not in shown
