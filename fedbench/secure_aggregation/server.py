"""The server's side: one function an exchange, each of what sites replied.

A server keeps, for the length of an attempt, the roster, who shared, and one vector. It holds no
secret before the last exchange, and what it reconstructs there is used and forgotten. Whether a
reply has the length it must have (:data:`~.site.PUBLIC`, :data:`~.site.SEALED` for each other site,
the vector's, :func:`revealed_bytes`) is best seen when it comes in, so that a site whose reply does
not fit counts as one that did not answer; here it is an error that names the site.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fedbench.secure_aggregation.fixed_point import FixedPoint
from fedbench.secure_aggregation.keys import KEY, agreed, derived, new_key, public_of
from fedbench.secure_aggregation.masks import TAIL, Words, shift, sign_of
from fedbench.secure_aggregation.messages import BadExchange, Blocks, Reveal, Terms
from fedbench.secure_aggregation.shares import combined
from fedbench.secure_aggregation.site import PUBLIC, SEALED, SEED


@dataclass(frozen=True)
class Collected:
    """The sum of the masked vectors, and what to ask for to take off the masks."""

    total: Words = field(repr=False)
    reveal: Reveal


def check_keys(site: str, body: bytes | memoryview) -> None:
    """Make sure that a reply of the first exchange is two keys with which others can agree.

    Raises:
        BadExchange: it is not.
    """
    _fits(site, body, PUBLIC)
    for start in (0, KEY):
        agreed(new_key(), bytes(body[start : start + KEY]), b"check", site)


def check_shares(keys: Blocks, site: str, blocks: Blocks) -> None:
    """Make sure that a reply of the second exchange has a share for every other site.

    Raises:
        BadExchange: it has not.
    """
    if {site, *blocks.each(SEALED)} != set(keys.sites):
        raise BadExchange(f"{site} did not share its secrets with all of the roster.")


def roster(terms: Terms, advertised: Mapping[str, bytes]) -> Blocks:
    """After the first exchange: the public keys of all, for all.

    Raises:
        TooFewSites: fewer advertised than the threshold.
        BadExchange: a reply does not fit.
    """
    terms.require(advertised, "advertised keys")
    for site, keys in advertised.items():
        _fits(site, keys, PUBLIC)
    return Blocks.of(advertised)


def deliveries(terms: Terms, keys: Blocks, shared: Mapping[str, Blocks]) -> dict[str, Blocks]:
    """After the second exchange: by site that shared, the shares that others sealed for it.

    Args:
        keys: the roster.

    Raises:
        TooFewSites: fewer shared than the threshold.
        BadExchange: a reply does not fit.
    """
    terms.require(shared, "shared their secrets")
    for sender, blocks in shared.items():
        check_shares(keys, sender, blocks)
    sent = {sender: blocks.each(SEALED) for sender, blocks in shared.items()}
    return {
        to: Blocks.of({sender: each[to] for sender, each in sent.items() if sender != to})
        for to in shared
    }


def collect(
    terms: Terms,
    shared: Collection[str],
    masked: Iterable[tuple[str, bytes | memoryview]],
    length: int,
    scheme: FixedPoint,
) -> Collected:
    """During the third exchange: add up masked vectors as they come, holding one beside the sum.

    Args:
        shared: who shared, and was asked for a vector.
        masked: little-endian words by site.
        length: of every vector, in words, without the zeros at its end.

    Raises:
        TooFewSites: fewer came than the threshold.
        BadExchange: a vector has another length, comes twice, or from somebody else.
    """
    total = np.zeros(length + TAIL // scheme.words.itemsize, scheme.words)
    arrived = set[str]()
    for site, body in masked:
        _fits(site, body, total.nbytes)
        if site in arrived or site not in shared:
            raise BadExchange(f"{site} sent a vector that it was not asked for, or a second one.")
        np.add(total, np.frombuffer(body, scheme.words), out=total)
        arrived.add(site)
    terms.require(arrived, "sent their vectors")
    missing = set(shared) - arrived
    return Collected(total, Reveal(tuple(sorted(arrived)), tuple(sorted(missing))))


def revealed_bytes(asked: Reveal) -> int:
    """How long a reply of the last exchange is."""
    return SEED * len(asked.arrived) + KEY * len(asked.missing)


def unmasked(
    terms: Terms, keys: Blocks, collected: Collected, revealed: Mapping[str, bytes]
) -> Words:
    """After the last exchange: the sum of the vectors that arrived. The total is used up for it.

    Args:
        keys: the roster.
        revealed: replies of sites that arrived; who else dropped out by now is in the sum all the
            same.

    Raises:
        TooFewSites: fewer revealed their shares than the threshold.
        BadExchange: a reply does not fit, shares do not make the key that a site advertised, or a
            mask stays on, because shares of a seed are wrong or a vector did not end with zeros.
    """
    total, asked = collected.total, collected.reveal
    terms.require(revealed, "revealed their shares")
    for site, shares in revealed.items():
        _fits(site, shares, revealed_bytes(asked))
    chosen = [site for site in keys.sites if site in revealed][: terms.threshold]
    index = {site: keys.sites.index(site) + 1 for site in chosen}

    def secret(start: int, size: int) -> bytes:
        return combined({index[site]: revealed[site][start : start + size] for site in chosen})

    for place, site in enumerate(asked.arrived):
        shift(total, derived(secret(SEED * place, SEED), terms.info("own mask", site)), -1)
    begin = SEED * len(asked.arrived)
    for place, site in enumerate(asked.missing):
        _unpair(terms, keys.each(PUBLIC), asked, total, site, secret(begin + KEY * place, KEY))
    length = len(total) - TAIL // total.itemsize
    if total[length:].any():
        raise BadExchange(
            "The shares that were revealed do not take all masks off: somebody's are wrong, and "
            "the sum is given up."
        )
    return total[:length]


def _unpair(
    terms: Terms, keys: Mapping[str, bytes], asked: Reveal, total: Words, missing: str, key: bytes
) -> None:
    """Take off the masks that sites in the sum have in common with one that is missing."""
    if public_of(key) != keys[missing][KEY:]:
        raise BadExchange(f"The shares of {missing} do not make its key: the sum is given up.")
    for site in asked.arrived:
        info = terms.info("common mask", *sorted((site, missing)))
        common = agreed(key, keys[site][KEY:], info, site)
        shift(total, common, -1 if sign_of(site, missing) > 0 else 1)


def _fits(site: str, body: bytes | memoryview, size: int) -> None:
    if len(body) != size:
        raise BadExchange(f"{site} replied {len(body)} bytes to secure aggregation, not {size}.")
