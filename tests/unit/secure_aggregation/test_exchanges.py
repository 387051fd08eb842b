"""The four exchanges: exact sums whoever drops out, and what is refused."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.secure_aggregation import (
    BadExchange,
    Blocks,
    Private,
    Reveal,
    Terms,
    TooFewSites,
    advertise,
    collect,
    decoded,
    deliveries,
    mask,
    roster,
    share,
    unmask,
    unmasked,
    usual_threshold,
)
from fedbench.secure_aggregation.server import revealed_bytes
from fedbench.secure_aggregation.site import PUBLIC, SEALED

from .attempts import attempt, encoded_of, scheme_of, terms_of

SHAPES = {"layer.A": (2, 5), "layer.B": (3,)}


def _updates(sites, seed):
    random = torch.Generator().manual_seed(seed)
    return {
        site: {n: torch.rand(s, generator=random) * 2 - 1 for n, s in SHAPES.items()}
        for site in sites
    }


def _vectors(terms, scheme):
    random = np.random.default_rng(1)
    high = 2**scheme.bits
    return {site: random.integers(high, size=7, dtype=scheme.words) for site in terms.sites}


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_the_sum_over_those_that_arrived_is_the_weighted_sum_whoever_drops_out(data):
    terms = terms_of(data.draw(st.integers(2, 8), label="sites"))
    can_go = len(terms.sites) - terms.threshold
    going = data.draw(st.permutations(terms.sites))[: data.draw(st.integers(0, can_go))]
    silent = [[], [], [], []]
    for site in going:
        silent[data.draw(st.integers(0, 3), label=f"{site} drops out in")].append(site)
    bits = data.draw(st.sampled_from([32, 64]))
    weights = {s: data.draw(st.floats(0.01, 1), label=f"weight of {s}") for s in terms.sites}
    updates = _updates(terms.sites, data.draw(st.integers(0, 999), label="seed"))
    scheme = scheme_of(terms, bits=bits)

    words, seen = attempt(terms, encoded_of(updates, weights, scheme), scheme, silent)

    summed = set(terms.sites) - {site for sites in silent[:3] for site in sites}
    assert set(seen.collected.reveal.arrived) == summed
    total, weight = decoded(words, SHAPES, scheme)
    step = 1 / scheme.top
    together = sum(weights[site] for site in summed)
    assert weight == pytest.approx(together, abs=len(summed) / 2 * step + 1e-14)
    for name in SHAPES:
        plain = sum(updates[site][name].double() * weights[site] for site in summed)
        allowed = len(summed) / 2 * scheme.unit + plain.abs() * 2**-24 + 1e-14
        assert ((total[name].double() - plain).abs() <= allowed).all()


@pytest.mark.parametrize("bits", [32, 64])
def test_the_sum_of_words_is_exact_and_the_same_whatever_the_keys(bits):
    terms = terms_of(8)
    scheme = scheme_of(terms, bits=bits)
    vectors = _vectors(terms, scheme)
    silent = [[], [], ["site-02"], ["site-05"]]
    plain = sum(words for site, words in vectors.items() if site != "site-02")
    for _ in range(2):
        words, _ = attempt(terms, vectors, scheme, silent)
        assert words.tolist() == plain.tolist()


@pytest.mark.parametrize(
    ("exchange", "did"),
    [
        (0, "advertised keys"),
        (1, "shared their secrets"),
        (2, "sent their vectors"),
        (3, "revealed their shares"),
    ],
)
def test_one_site_fewer_than_the_threshold_in_any_exchange_abandons_the_attempt(exchange, did):
    terms = terms_of(5)
    scheme = scheme_of(terms)
    silent = [[], [], [], []]
    silent[exchange] = terms.sites[: 5 - terms.threshold]
    attempt(terms, _vectors(terms, scheme), scheme, silent)
    silent[exchange] = terms.sites[: 5 - terms.threshold + 1]
    with pytest.raises(TooFewSites, match=f"Only 3 of 5 sites {did}.*4 are needed"):
        attempt(terms, _vectors(terms, scheme), scheme, silent)


def test_a_site_takes_no_part_where_fewer_are_left_than_the_threshold():
    terms = terms_of(4)
    states, keys = zip(*(advertise(terms, site) for site in terms.sites), strict=True)
    listed = dict(zip(terms.sites, keys, strict=True))
    few = Blocks.of({site: listed[site] for site in terms.sites[: terms.threshold - 1]})
    with pytest.raises(TooFewSites):
        share(states[0], few)
    shared, _ = share(states[0], Blocks.of(listed))
    with pytest.raises(TooFewSites):
        mask(shared, Blocks(()), np.zeros(3, "<u4"))


def _until_masked(terms):
    """The roster, states and replies of the second exchange, deliveries, states of the third."""
    states = {site: advertise(terms, site) for site in terms.sites}
    keys = roster(terms, {site: reply for site, (_, reply) in states.items()})
    shared = {site: share(state, keys) for site, (state, _) in states.items()}
    delivered = deliveries(terms, keys, {site: reply for site, (_, reply) in shared.items()})
    masked = {
        site: mask(state, delivered[site], np.zeros(3, "<u4"))
        for site, (state, _) in shared.items()
    }
    return keys, shared, delivered, {site: state for site, (state, _) in masked.items()}


def test_a_server_that_asks_for_both_secrets_of_a_site_is_refused():
    terms = terms_of(4)
    state = _until_masked(terms)[-1]["site-00"]
    with pytest.raises(BadExchange, match="Both secrets of site-03"):
        unmask(state, Reveal(terms.sites, ("site-03",)))


def test_a_server_that_asks_for_one_secret_and_then_the_other_is_refused():
    terms = terms_of(4)
    state = _until_masked(terms)[-1]["site-00"]
    over, _ = unmask(state, Reveal(terms.sites, ()))
    with pytest.raises(BadExchange, match="answers nothing twice"):
        unmask(over, Reveal(terms.sites[:3], terms.sites[3:]))


@pytest.mark.parametrize(
    ("arrived", "missing", "why"),
    [
        (3, (), "not those that shared"),  # says nothing of one
        (2, (2, 3), "Only 2 of 4"),  # too few in the sum
        ((1, 2, 3), (0,), "site-00 sent its vector"),
        ((0, 1, 2, 3, 3), (), "not those that shared"),
    ],
)
def test_a_request_that_does_not_fit_reveals_nothing(arrived, missing, why):
    terms = terms_of(4)
    state = _until_masked(terms)[-1]["site-00"]
    chosen = range(arrived) if isinstance(arrived, int) else arrived
    asked = Reveal(*(tuple(terms.sites[n] for n in each) for each in (chosen, missing)))
    with pytest.raises((BadExchange, TooFewSites), match=why):
        unmask(state, asked)


def test_an_altered_share_is_refused_with_the_name_of_its_sender():
    terms = terms_of(4)
    _, shared, delivered, _ = _until_masked(terms)
    blobs = delivered["site-00"].each(SEALED)
    blobs["site-02"] = blobs["site-02"][:-1] + bytes([blobs["site-02"][-1] ^ 1])
    with pytest.raises(BadExchange, match="site-02 sent was altered"):
        mask(shared["site-00"][0], Blocks.of(blobs), np.zeros(3, "<u4"))


def test_shares_of_two_sites_that_were_exchanged_are_refused():
    terms = terms_of(4)
    _, shared, delivered, _ = _until_masked(terms)
    blobs = delivered["site-00"].each(SEALED)
    blobs["site-02"], blobs["site-01"] = blobs["site-01"], blobs["site-02"]
    with pytest.raises(BadExchange, match="altered on its way, or is not for"):
        mask(shared["site-00"][0], Blocks.of(blobs), np.zeros(3, "<u4"))


def test_every_exchange_is_answered_once_and_in_turn():
    terms = terms_of(4)
    keys, shared, delivered, masked = _until_masked(terms)
    words = np.zeros(3, "<u4")
    with pytest.raises(BadExchange, match="answers nothing twice"):
        share(shared["site-00"][0], keys)
    with pytest.raises(BadExchange, match="answers nothing twice"):
        mask(masked["site-00"], delivered["site-00"], words)
    with pytest.raises(BadExchange, match="answers nothing twice"):
        unmask(shared["site-00"][0], Reveal(terms.sites, ()))


def test_a_roster_with_other_keys_of_a_site_is_refused_by_it():
    terms = terms_of(3)
    states = {site: advertise(terms, site) for site in terms.sites}
    listed = {site: reply for site, (_, reply) in states.items()}
    listed["site-01"] = advertise(terms, "site-01")[1]
    with pytest.raises(BadExchange, match="other keys of site-01"):
        share(states["site-01"][0], Blocks.of(listed))


def test_the_server_notices_shares_that_do_not_make_the_key_of_a_missing_site():
    terms = terms_of(4)
    scheme = scheme_of(terms)
    _, seen = attempt(terms, _vectors(terms, scheme), scheme, [[], [], ["site-03"], []])
    reply = seen.revealed["site-00"]
    seen.revealed["site-00"] = reply[:-1] + bytes([reply[-1] ^ 1])
    with pytest.raises(BadExchange, match="shares of site-03 do not make its key"):
        unmasked(terms, seen.roster, seen.collected, seen.revealed)


def test_replies_that_do_not_fit_are_refused_with_the_name_of_the_site():
    terms = terms_of(3)
    scheme = scheme_of(terms)
    _, seen = attempt(terms, _vectors(terms, scheme), scheme)
    with pytest.raises(BadExchange, match="site-01 replied 63 bytes"):
        roster(terms, seen.keys | {"site-01": bytes(63)})
    with pytest.raises(BadExchange, match="elsewhere advertised keys and is not"):
        roster(terms, seen.keys | {"elsewhere": bytes(64)})
    with pytest.raises(BadExchange, match="site-01 did not share"):
        deliveries(terms, seen.roster, seen.shares | {"site-01": Blocks(())})
    short = seen.vectors | {"site-01": b"1234"}
    with pytest.raises(BadExchange, match="site-01 replied 4 bytes"):
        collect(terms, seen.shares, short.items(), 7, scheme)
    twice = [*seen.vectors.items(), ("site-01", seen.vectors["site-01"])]
    with pytest.raises(BadExchange, match="a second one"):
        collect(terms, seen.shares, twice, 7, scheme)
    with pytest.raises(BadExchange, match="site-01 replied 0 bytes"):
        unmasked(terms, seen.roster, seen.collected, seen.revealed | {"site-01": b""})


def test_vectors_are_added_as_they_come_and_none_is_kept():
    terms, length = terms_of(20), 250_000
    scheme = scheme_of(terms)
    arriving = ((site, np.ones(length + 4, scheme.words).data.cast("B")) for site in terms.sites)
    tracemalloc.start()
    collected = collect(terms, terms.sites, arriving, length, scheme)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(collected.total.tolist()) == {20}
    # the sum, the vector that is added, and the next one while that is still held
    assert peak < 3.2 * collected.total.nbytes


@pytest.mark.parametrize(
    ("sites", "threshold", "why"),
    [
        (("a",), 1, "at least two sites"),
        (("b", "a"), 2, "sorted"),
        (("a", "a", "b"), 2, "sorted"),
        (("a", "b", "c", "d"), 2, "more than half"),
        (("a", "b", "c", "d"), 5, "more than half"),
    ],
)
def test_terms_that_protect_nobody_are_refused(sites, threshold, why):
    with pytest.raises(BadExchange, match=why):
        Terms("run", 0, 0, sites, threshold)


def test_the_usual_threshold_is_the_least_number_above_two_thirds():
    assert [usual_threshold(n) for n in (2, 3, 4, 6, 16, 128)] == [2, 3, 3, 5, 11, 86]


def test_what_travels_is_the_same_after_a_header_of_json():
    terms = terms_of(3)
    scheme = scheme_of(terms)
    _, seen = attempt(terms, _vectors(terms, scheme), scheme, [[], [], [], []])

    def travelled(header):
        return json.loads(json.dumps({"kind": "share"} | header))

    assert Terms.read(travelled(terms.header())) == terms
    blocks = seen.shares["site-00"]
    assert Blocks.read(travelled(blocks.header()), memoryview(blocks.body)) == blocks
    asked = Reveal(terms.sites[:2], terms.sites[2:])
    assert Reveal.read(travelled(asked.header())) == asked
    for read in (Terms.read, Reveal.read, lambda header: Blocks.read(header, b"")):
        with pytest.raises(BadExchange):
            read({"sites": "abc", "arrived": ["a"]})


def test_replies_have_the_lengths_that_are_documented():
    terms = terms_of(4)
    scheme = scheme_of(terms)
    _, seen = attempt(terms, _vectors(terms, scheme), scheme, [[], [], ["site-03"], []])
    assert len(seen.keys["site-00"]) == PUBLIC == 64
    assert len(seen.shares["site-00"].body) == 3 * SEALED
    assert len(seen.revealed["site-00"]) == revealed_bytes(seen.collected.reveal) == 3 * 16 + 32


def test_a_state_survives_being_kept_and_holds_only_what_is_needed_from_there_on():
    terms = terms_of(4)
    _, shared, _, masked = _until_masked(terms)
    for state in (shared["site-00"][0], masked["site-00"]):
        assert Private.from_bytes(state.to_bytes()) == state
    assert masked["site-00"].masking == masked["site-00"].seed == b""
    over, _ = unmask(masked["site-00"], Reveal(terms.sites, ()))
    assert over == Private(terms, "site-00", "over")


_WHOLE = advertise(terms_of(3), "site-00")[0].to_bytes()
_NO_TERMS = json.dumps(json.loads(_WHOLE) | {"terms": []}).encode()


@pytest.mark.parametrize(
    "damaged", [b"", b"[]", b"{}", b"\xff", b'{"cipher": "zz"}', _WHOLE[:-10], _NO_TERMS]
)
def test_a_state_that_is_damaged_is_refused_in_a_sentence(damaged):
    with pytest.raises(BadExchange, match="kept between exchanges is damaged"):
        Private.from_bytes(damaged)


def test_a_site_is_in_the_cohort_of_what_it_advertises_for():
    with pytest.raises(BadExchange, match="cohort it is not in"):
        advertise(terms_of(3), "elsewhere")


def test_the_next_attempt_differs_in_nothing_but_its_number():
    terms = terms_of(3)
    assert terms.again() == replace(terms, attempt=1)


@pytest.mark.parametrize(
    "change",
    [{"site": []}, {"site": "nobody"}, {"stage": "asleep"}, {"stage": {}}, {"seed": "00"},
     {"cipher": "00" * 31}, {"terms": []}],
)  # fmt: skip
def test_a_state_of_no_site_or_stage_is_refused_in_a_sentence(change):
    kept = json.loads(_WHOLE)
    assert Private.from_bytes(json.dumps(kept).encode())
    with pytest.raises(BadExchange, match="kept between exchanges is damaged"):
        Private.from_bytes(json.dumps(kept | change).encode())
