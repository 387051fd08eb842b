"""A site's side: four functions of its private state and a message, to a new state and a reply.

A site keeps its state (:meth:`Private.to_bytes`, in a file that only it can read) before the reply
leaves. Killed between two exchanges, it goes on from there. It answers each exchange of an attempt
once: a reply that was lost is a site that dropped out, because the same secrets are never used on
two vectors nor revealed for two lists of sites. A stopped server begins a new attempt, with which
all of this begins anew.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from fedbench.secure_aggregation.keys import KEY, agreed, derived, new_key, public_of
from fedbench.secure_aggregation.masks import TAIL, Words, shift, sign_of
from fedbench.secure_aggregation.messages import BadExchange, Blocks, Reveal, Terms
from fedbench.secure_aggregation.shares import OVERHEAD, opened, sealed, split

PUBLIC = 2 * KEY  #: bytes that a site advertises: a key for shares, a key for masks
SEED = 16  #: bytes that a site's own mask is made from
SHARE = SEED + KEY  #: bytes of a share of both secrets
SEALED = SHARE + OVERHEAD  #: and as it is sent to another site

_NONE = Blocks(())
_SECRETS, _BLOCKS = ("cipher", "masking", "seed"), ("roster", "shares")
Stage = Literal["advertised", "shared", "masked", "over"]
#: bytes of each of the secrets that a site has at that stage
_LENGTHS: dict[Stage, tuple[int, int, int]] = {
    "advertised": (KEY, KEY, 0),
    "shared": (KEY, KEY, SEED),
    "masked": (0, 0, 0),
    "over": (0, 0, 0),
}


@dataclass(frozen=True)
class Private:
    """What a site keeps between exchanges of one attempt, and shows nobody."""

    terms: Terms
    site: str
    stage: Stage
    cipher: bytes = field(default=b"", repr=False)  #: private key, for shares on their way
    masking: bytes = field(default=b"", repr=False)  #: private key, for masks; shared with others
    seed: bytes = field(default=b"", repr=False)  #: of the site's own mask; shared with others
    roster: Blocks = _NONE  #: public keys of all who advertised
    shares: Blocks = _NONE  #: that it holds, of itself and of all who shared

    def to_bytes(self) -> bytes:
        """To be kept where only the site can read it."""
        secret = {name: getattr(self, name).hex() for name in _SECRETS}
        blocks = {name: _told(getattr(self, name)) for name in _BLOCKS}
        public = {"terms": self.terms.header(), "site": self.site, "stage": self.stage}
        return json.dumps(public | secret | blocks, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Private:
        """As it was kept.

        Raises:
            BadExchange: this is not what was kept, or not all of it.
        """
        try:
            kept = json.loads(content)
            cipher, masking, seed = (bytes.fromhex(kept[name]) for name in _SECRETS)
            roster, shares = (
                Blocks.read(kept[name], bytes.fromhex(kept[name]["body"])) for name in _BLOCKS
            )
            terms, site, stage = Terms.read(kept["terms"]), kept["site"], kept["stage"]
            lengths = len(cipher), len(masking), len(seed)
            if site not in terms.sites or lengths != _LENGTHS[stage]:
                raise ValueError
            return cls(terms, site, stage, cipher, masking, seed, roster, shares)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise BadExchange(
                "What this site kept between exchanges is damaged: it takes no part in the attempt."
            ) from None


def _told(blocks: Blocks) -> dict[str, object]:
    return blocks.header() | {"body": blocks.body.hex()}


def advertise(terms: Terms, site: str) -> tuple[Private, bytes]:
    """Begin an attempt with two fresh pairs of keys; reply with the public halves.

    Raises:
        BadExchange: the site is not in the cohort.
    """
    if site not in terms.sites:
        raise BadExchange(f"{site} is asked to take part in a round whose cohort it is not in.")
    private = Private(terms, site, "advertised", new_key(), new_key())
    return private, _public(private)


def share(private: Private, roster: Blocks) -> tuple[Private, Blocks]:
    """Share the masking key and a fresh seed among all who advertised; reply with sealed shares.

    Raises:
        TooFewSites: fewer advertised than the threshold.
        BadExchange: it is not this exchange's turn, or the roster is not right.
    """
    _expect(private, "advertised")
    keys, site, terms = roster.each(PUBLIC), private.site, private.terms
    terms.require(keys, "advertised keys")
    if keys.get(site) != _public(private):
        raise BadExchange(f"The roster holds other keys of {site} than it advertised.")
    seed = secrets.token_bytes(SEED)
    parts = (split(secret, terms.threshold, len(keys)) for secret in (seed, private.masking))
    shares = dict(zip(keys, map(b"".join, zip(*parts, strict=True)), strict=True))
    own = Blocks.of({site: shares.pop(site)})
    sent = {to: sealed(*_transit(private, keys, site, to), each) for to, each in shares.items()}
    return replace(private, stage="shared", seed=seed, roster=roster, shares=own), Blocks.of(sent)


def mask(private: Private, delivery: Blocks, words: Words) -> tuple[Private, Words]:
    """Open the shares that others sent, then mask this site's vector; reply with it.

    The new state holds nothing but shares: this site's own keys are not needed any more.

    Args:
        words: what :func:`~.fixed_point.encoded` gives; it is left as it is.

    Raises:
        TooFewSites: fewer shared than the threshold.
        BadExchange: it is not this exchange's turn, or a share does not fit; names who sent it.
    """
    _expect(private, "shared")
    terms, site = private.terms, private.site
    keys, others = private.roster.each(PUBLIC), delivery.each(SEALED)
    if strange := sorted(others.keys() - (keys.keys() - {site})):
        raise BadExchange(f"A share is from {strange[0]}, which is no other site of the roster.")
    terms.require([site, *others], "shared their secrets")
    held = private.shares.each(SHARE) | {
        sender: opened(*_transit(private, keys, sender, site), blob, sender)
        for sender, blob in others.items()
    }
    masked = np.concatenate([words, np.zeros(TAIL // words.itemsize, words.dtype)])
    shift(masked, derived(private.seed, terms.info("own mask", site)), 1)
    for other in others:
        info = terms.info("common mask", *sorted((site, other)))
        common = agreed(private.masking, keys[other][KEY:], info, other)
        shift(masked, common, sign_of(site, other))
    return Private(terms, site, "masked", shares=Blocks.of(held)), masked


def unmask(private: Private, asked: Reveal) -> tuple[Private, bytes]:
    """Reveal one share of every site that shared: of its seed, or of its masking key.

    With both secrets of a site its vector would be bare, so a request must deal every site to one
    side, and is answered once. The new state holds no secrets any more.

    Raises:
        TooFewSites: the sum would be over fewer sites than the threshold.
        BadExchange: it is not this exchange's turn, or the request is not right.
    """
    _expect(private, "masked")
    shares = private.shares.each(SHARE)
    if both := sorted(set(asked.arrived) & set(asked.missing)):
        raise BadExchange(f"Both secrets of {both[0]} are asked for: none is revealed.")
    if sorted((*asked.arrived, *asked.missing)) != sorted(shares):
        raise BadExchange("The sites in the sum and those missing are not those that shared.")
    if private.site not in asked.arrived:
        raise BadExchange(f"{private.site} sent its vector and is said to be missing.")
    private.terms.require(asked.arrived, "sent their vectors")
    seeds = [shares[name][:SEED] for name in asked.arrived]
    keys = [shares[name][SEED:] for name in asked.missing]
    return Private(private.terms, private.site, "over"), b"".join((*seeds, *keys))


def _public(private: Private) -> bytes:
    return public_of(private.cipher) + public_of(private.masking)


def _expect(private: Private, stage: Stage) -> None:
    if private.stage != stage:
        raise BadExchange(
            f"{private.site} has {private.stage} in attempt {private.terms.attempt} of round "
            f"{private.terms.round} and answers nothing twice: begin another attempt."
        )


def _transit(
    private: Private, keys: Mapping[str, bytes], sender: str, recipient: str
) -> tuple[bytes, bytes]:
    """The key of shares from one site for another, one of which this is; and what it is for."""
    other = recipient if sender == private.site else sender
    info = private.terms.info("share", sender, recipient)
    return agreed(private.cipher, keys[other][:KEY], info, other), info
