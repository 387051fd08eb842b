"""The server's part in secure aggregation: the exchanges of a round around its training.

Keys and shares are exchanged before anybody trains; updates come masked; the shares that take the
masks off the sum are asked for last. Who drops out on the way is left out of the sum, or, once its
masked update has come, stays in it. With fewer sites than the threshold the round is abandoned, and
nothing is learned of any update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedbench.config import RunConfig
from fedbench.engines import Engine
from fedbench.errors import Damaged, FedbenchError
from fedbench.files import read_json, write_json
from fedbench.masking import fixed_point, greatest_weight, limit
from fedbench.privacy.noise import Source, noised
from fedbench.reduction import terms_of
from fedbench.replies import Form, Heard, bodies, in_words
from fedbench.rules.rule import Reduced
from fedbench.secure_aggregation import (
    BadExchange,
    Blocks,
    Terms,
    TooFewSites,
    collect,
    decoded,
    deliveries,
    roster,
    unmasked,
)
from fedbench.secure_aggregation.masks import TAIL
from fedbench.secure_aggregation.server import check_keys, check_shares, revealed_bytes
from fedbench.secure_aggregation.site import PUBLIC, SEALED
from fedbench.snapshots import damaged, whole
from fedbench.wire import Schema, framed, seal
from fedbench.wire.schema import count

_NONE = Blocks(())


@dataclass(frozen=True)
class Agreed:
    """Who has keys and shares for a round, and what that took."""

    sites: Sequence[str]
    refused: Mapping[str, str] = field(default_factory=dict)  #: why others have none
    terms: Terms | None = None
    keys: Blocks = _NONE
    shares: Mapping[str, Blocks] = field(default_factory=dict)
    schema: Schema = ()  #: of which tensors updates consist
    form: Form | None = None  #: what a masked update must be; None where updates are not masked
    traffic: dict[str, int] = field(default_factory=dict)  #: as a round's record keeps it

    def told(self, site: str) -> dict[str, Any]:
        """What a site needs beside the message to train: the shares that others sealed for it."""
        if self.terms is None:
            return {}
        return {"senders": list(self.shares[site].sites), "shares": self.shares[site].body.hex()}


class _Sent(dict[str, bytes]):
    """Messages that are small enough to be kept."""

    def seal(self, site: str) -> str:
        return seal(self[site]) if site in self else ""


def agree(
    engine: Engine,
    config: RunConfig,
    cohort: Sequence[str],
    round_: int,
    folder: Path,
    expected: Callable[[str], Schema],
) -> Agreed:
    """Have a cohort exchange keys and shares; nothing is done without secure aggregation.

    Raises:
        FedbenchError: sites are private, and steps too coarse for it: all would have to refuse.
    """
    if config.secure is None or not cohort:
        return Agreed(cohort)
    schema = expected(cohort[0])
    if (privacy := config.private("site")) is not None:
        limit(privacy, fixed_point(config.secure, len(cohort)), count(schema))
    threshold = min(len(cohort), int(config.secure.threshold * len(cohort) + 1e-9) + 1)
    try:
        terms = Terms(config.id, round_, _attempt(folder, round_), tuple(cohort), threshold)
    except BadExchange as error:
        return Agreed([], dict.fromkeys(cohort, str(error)))
    asked = _asking("advertise", {site: (terms.header(), b"") for site in cohort})
    keyed, first = bodies(
        engine.exchange(asked, None), asked, "advertise", PUBLIC,
        lambda site, header, body: check_keys(site, body),
    )  # fmt: skip
    traffic = {"bytes_keys": _n_bytes(asked) + first.n_bytes}
    try:
        keys = roster(terms, {site: body for site, (_, body) in keyed.items()})
    except (TooFewSites, BadExchange) as error:
        return _nobody(terms, first, keyed, error, traffic)
    asked = _asking("share", {s: (terms.named() | keys.header(), keys.body) for s in keyed})
    shared, second = bodies(
        engine.exchange(asked, None), asked, "share", SEALED * (len(keyed) - 1),
        lambda site, header, body: check_shares(keys, site, Blocks.read(header, body)),
    )  # fmt: skip
    traffic = {"bytes_keys": traffic["bytes_keys"] + _n_bytes(asked) + second.n_bytes}
    refused = Heard({}, {**first.refused, **second.refused})
    try:
        blocks = {site: Blocks.read(header, body) for site, (header, body) in shared.items()}
        shares = deliveries(terms, keys, blocks)
    except (TooFewSites, BadExchange) as error:
        return _nobody(terms, refused, shared, error, traffic)
    words = in_words((count(schema) + 1) * config.secure.bits // 8 + TAIL)
    return Agreed(sorted(shares), refused.refused, terms, keys, shares, schema, words, traffic)


def _nobody(
    terms: Terms,
    before: Heard,
    left: Iterable[str],
    error: FedbenchError,
    traffic: dict[str, int],
) -> Agreed:
    """Nobody has keys and shares: why, of those ``left`` and of those refused before."""
    refused = before.refused | dict.fromkeys(left, str(error))
    return Agreed([], refused, terms, traffic=traffic)


def total(
    engine: Engine,
    config: RunConfig,
    agreed: Agreed,
    sent: Heard,
    sites: Sequence[str],
    source: Source,
) -> tuple[Reduced | None, dict[str, Any]]:
    """The sum of the masked updates that came, and what a round's record says of unmasking.

    If sites are private, noise of ``source`` is added to it; they have clipped what they sent. None
    where too few sites are left: then the record says why.
    """
    terms, secure, schema = agreed.terms, config.secure, agreed.schema
    if terms is None or secure is None or not sent.replies:
        return None, {"abandoned": "Nobody sent a masked update."}
    scheme = fixed_point(secure, len(terms.sites))
    traffic: dict[str, Any] = {}
    try:
        collected = collect(terms, agreed.sites, _vectors(sent), count(schema) + 1, scheme)
        reveal = collected.reveal
        header = terms.named() | reveal.header()
        asked = _asking("unmask", dict.fromkeys(reveal.arrived, (header, b"")))
        revealed, heard = bodies(
            engine.exchange(asked, None), asked, "unmask", revealed_bytes(reveal)
        )
        traffic["bytes_unmask"] = _n_bytes(asked) + heard.n_bytes
        words = unmasked(
            terms, agreed.keys, collected, {site: body for site, (_, body) in revealed.items()}
        )
    except (TooFewSites, BadExchange) as error:
        return None, traffic | {"abandoned": str(error)}
    tensors, weight = decoded(words, dict(schema), scheme)
    if not 0 < weight <= len(reveal.arrived):
        why = "The weights under the masks add up to what so many sites cannot have: one is false."
        return None, traffic | {"abandoned": why}
    privacy = config.private("site")
    if privacy is not None:
        clip, noise, weight = terms_of(config, privacy, sites)
        tensors = noised(tensors, noise * clip, source)
    most = greatest_weight(config, secure)
    whole = {name: (tensor * most).float() for name, tensor in tensors.items()}
    return Reduced(whole, weight * most), traffic


def _vectors(sent: Heard) -> Iterator[tuple[str, memoryview]]:
    """Masked updates from the disk, one in memory at a time; what was read is removed."""
    for site, reply in sent.replies.items():
        assert reply.path is not None
        _, body = whole(reply.path)
        reply.path.unlink()
        yield site, body


def _n_bytes(asked: _Sent) -> int:
    return sum(map(len, asked.values()))


def _asking(kind: str, told: Mapping[str, tuple[Mapping[str, Any], bytes]]) -> _Sent:
    return _Sent({s: framed({"kind": kind, **header}, body) for s, (header, body) in told.items()})


def _attempt(folder: Path, round_: int) -> int:
    """A number that no earlier attempt at this round had since the run began or started over.

    It begins with each round: were it to grow over all of them, messages would grow with how often
    the run was stopped.
    """
    path = folder / "attempts.json"
    try:
        before = read_json(path) if path.exists() else {}
        attempt = int(before["attempt"]) + 1 if before.get("round") == round_ else 0
    except (AttributeError, Damaged, KeyError, TypeError, ValueError):
        raise damaged(path) from None
    write_json(path, {"round": round_, "attempt": attempt})
    return attempt
