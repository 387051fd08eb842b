"""One attempt at a round, all sites and the server in one process, with who falls silent when."""

from __future__ import annotations

from dataclasses import dataclass, field

from fedbench.secure_aggregation import (
    FixedPoint,
    Private,
    Terms,
    advertise,
    collect,
    deliveries,
    encoded,
    mask,
    roster,
    share,
    unmask,
    unmasked,
    usual_threshold,
)


@dataclass
class Seen:
    """Everything that a server receives, by exchange and site, and what it makes of it."""

    keys: dict = field(default_factory=dict)
    shares: dict = field(default_factory=dict)
    vectors: dict = field(default_factory=dict)
    revealed: dict = field(default_factory=dict)
    roster: object = None
    collected: object = None
    privates: dict = field(default_factory=dict)  #: of the sites, which a server does not see


def terms_of(count, *, threshold=None, round_=3, attempt=0, run="run"):
    sites = tuple(f"site-{n:02d}" for n in range(count))
    return Terms(run, round_, attempt, sites, threshold or usual_threshold(count))


def scheme_of(terms, bound=1.0, bits=32):
    return FixedPoint(len(terms.sites), bound, bits)


def attempt(terms, vectors, scheme, silent=()):
    """The sum over all whose vector arrived, and what the server saw.

    ``silent``: by exchange 0 to 3, which sites do not answer it, nor any later one.
    """
    seen, gone = Seen(), [set(), set(), set(), set()]
    for number, sites in enumerate(silent):
        for later in gone[number:]:
            later |= set(sites)
    for site in set(terms.sites) - gone[0]:
        seen.privates[site], seen.keys[site] = advertise(terms, site)
    seen.roster = roster(terms, seen.keys)
    for site in seen.keys.keys() - gone[1]:
        seen.privates[site], seen.shares[site] = share(_revived(seen, site), seen.roster)
    delivered = deliveries(terms, seen.roster, seen.shares)
    for site in seen.shares.keys() - gone[2]:
        seen.privates[site], masked = mask(_revived(seen, site), delivered[site], vectors[site])
        seen.vectors[site] = masked.tobytes()
    length = len(next(iter(vectors.values())))
    seen.collected = collect(terms, seen.shares, seen.vectors.items(), length, scheme)
    for site in seen.vectors.keys() - gone[3]:
        state, reply = unmask(_revived(seen, site), seen.collected.reveal)
        seen.privates[site], seen.revealed[site] = state, reply
    return unmasked(terms, seen.roster, seen.collected, seen.revealed), seen


def _revived(seen, site):
    """As a site that was killed and started again finds its state."""
    return Private.from_bytes(seen.privates[site].to_bytes())


def encoded_of(updates, weights, scheme):
    return {site: encoded(updates[site], weights[site], scheme) for site in updates}
