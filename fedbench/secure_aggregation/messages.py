"""What travels in the four exchanges: values of a header beside bytes of a body.

Public keys, masked vectors and revealed shares are bytes alone; their lengths are known beforehand.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fedbench.errors import FedbenchError


class BadExchange(FedbenchError):
    """A message of secure aggregation that does not fit; whoever got it does not answer it."""


class TooFewSites(FedbenchError):
    """Fewer sites than the threshold are left: the attempt is abandoned, its secrets with it."""


def usual_threshold(sites: int) -> int:
    """The least number above two thirds of the sites.

    Fewer than t sites together learn nothing, with the server or without. Above half, a server
    that tells two groups of sites different things cannot get both secrets of a site from them;
    above two thirds, not even with a third of the sites on its side, which answer it twice
    (Bonawitz et al. 2017, section 6, who need 2t > n + colluding sites for it).
    """
    return 2 * sites // 3 + 1


@dataclass(frozen=True)
class Terms:
    """What all sites of one attempt at a round agree on, and what every secret is bound to.

    Raises:
        BadExchange: fewer than two sites, a name twice, or a threshold that is not above half.
    """

    run: str
    round: int
    attempt: int  #: counts from 0 within a round; nothing secret is used in two of them
    sites: tuple[str, ...]  #: of the cohort, sorted
    threshold: int  #: how many sites must be left in every exchange

    def __post_init__(self) -> None:
        count = len(self.sites)
        if count < 2:
            raise BadExchange("Secure aggregation needs at least two sites: the sum is theirs.")
        if list(self.sites) != sorted(set(self.sites)):
            raise BadExchange("The sites of secure aggregation must be sorted, each named once.")
        if not count < 2 * self.threshold <= 2 * count:
            raise BadExchange(
                f"The threshold is {self.threshold} of {count} sites: it must be more than half, "
                "or a server could ask two groups of sites for different secrets."
            )

    def header(self) -> dict[str, Any]:
        """As values of a header."""
        return {**self.named(), "sites": list(self.sites), "threshold": self.threshold}

    def named(self) -> dict[str, Any]:
        """What tells this attempt from all others, as values of a header."""
        return {"run": self.run, "round": self.round, "attempt": self.attempt}

    @classmethod
    def read(cls, header: Mapping[str, Any]) -> Terms:
        """From a header that also holds other things.

        Raises:
            BadExchange: something is missing, of another kind, or does not go together.
        """
        numbers = [header.get(name) for name in ("round", "attempt", "threshold")]
        run = header.get("run")
        if not isinstance(run, str) or not all(type(number) is int for number in numbers):
            raise BadExchange("A header lacks run, round, attempt or threshold of secure sums.")
        round_, attempt, threshold = numbers
        return cls(run, round_, attempt, _names(header, "sites"), threshold)  # type: ignore[arg-type]

    def info(self, purpose: str, *sites: str) -> bytes:
        """What a key is derived for: no two purposes, attempts or pairs have the same bytes."""
        key = ["fedbench/secure_aggregation", purpose, self.run, self.round, self.attempt, *sites]
        return json.dumps(key).encode()

    def again(self) -> Terms:
        """Of the next attempt at the same round."""
        return replace(self, attempt=self.attempt + 1)

    def require(self, sites: Collection[str], did: str) -> None:
        """Ask for as many sites as the threshold, all of the cohort.

        Raises:
            TooFewSites: there are fewer.
            BadExchange: one of them is not of the cohort.
        """
        if strange := sorted(set(sites) - set(self.sites)):
            raise BadExchange(f"{strange[0]} {did} and is not in the cohort of this round.")
        if len(sites) < self.threshold:
            raise TooFewSites(
                f"Only {len(sites)} of {len(self.sites)} sites {did} in round {self.round}, and "
                f"{self.threshold} are needed: this attempt is abandoned, try again."
            )


@dataclass(frozen=True)
class Blocks:
    """As many bytes for each of some sites: keys, or shares for or from them."""

    sites: tuple[str, ...]
    body: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, each: Mapping[str, bytes]) -> Blocks:
        """From bytes by site."""
        names = tuple(sorted(each))
        return cls(names, b"".join(each[name] for name in names))

    def header(self) -> dict[str, Any]:
        """As values of a header; the body travels as it is."""
        return {"sites": list(self.sites)}

    @classmethod
    def read(cls, header: Mapping[str, Any], body: bytes | memoryview) -> Blocks:
        """From a header that also holds other things, and a body.

        Raises:
            BadExchange: the header does not list sites.
        """
        return cls(_names(header, "sites"), bytes(body))

    def each(self, size: int) -> dict[str, bytes]:
        """Bytes by site, in the order of sites.

        Raises:
            BadExchange: names are not sorted or come twice, or it is not ``size`` bytes for each.
        """
        if list(self.sites) != sorted(set(self.sites)) or len(self.body) != size * len(self.sites):
            raise BadExchange(f"A message holds no {size} bytes for each of its sites, sorted.")
        starts = range(0, len(self.body), size)
        return {
            name: self.body[at : at + size] for name, at in zip(self.sites, starts, strict=True)
        }


@dataclass(frozen=True)
class Reveal:
    """Whose vectors are in the sum, and who shared secrets but sent none.

    The reply is one share for each: of the seed of a site that arrived, of the key of one that is
    missing, in this order.
    """

    arrived: tuple[str, ...]
    missing: tuple[str, ...]

    def header(self) -> dict[str, Any]:
        """As values of a header; there is no body."""
        return {"arrived": list(self.arrived), "missing": list(self.missing)}

    @classmethod
    def read(cls, header: Mapping[str, Any]) -> Reveal:
        """From a header that also holds other things.

        Raises:
            BadExchange: the header does not list sites.
        """
        return cls(_names(header, "arrived"), _names(header, "missing"))


def _names(header: Mapping[str, Any], field_: str) -> tuple[str, ...]:
    names = header.get(field_)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadExchange(f"A header of secure aggregation lists no {field_}.")
    return tuple(names)
