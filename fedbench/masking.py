"""A site's part in secure aggregation: what it keeps between exchanges, and its masked update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedbench.config import RunConfig
from fedbench.errors import Damaged, FedbenchError
from fedbench.files import write_bytes
from fedbench.models.tensors import Tensors, count
from fedbench.privacy.clipping import clipped
from fedbench.protection import PrivacyConfig, SecureConfig
from fedbench.secure_aggregation import (
    Blocks,
    FixedPoint,
    Private,
    Reveal,
    Terms,
    advertise,
    check_finite,
    encoded,
    mask,
    share,
    shortened,
    unmask,
)
from fedbench.secure_aggregation.masks import Words
from fedbench.snapshots import whole
from fedbench.wire import BadPayload, framed

Header = Mapping[str, Any]
Reply = tuple[Header, bytes]


def fixed_point(secure: SecureConfig, sites: int) -> FixedPoint:
    """How numbers of an update become words, for a sum over at most so many sites."""
    return FixedPoint(sites, secure.bound, secure.bits)


def greatest_weight(config: RunConfig, secure: SecureConfig) -> float:
    """Most that an update may count with; under privacy all count alike, and no bits are lost."""
    return 1.0 if config.privacy is not None else secure.greatest_weight


def limit(privacy: PrivacyConfig, scheme: FixedPoint, numbers: int) -> float:
    """The norm that an update of a private site is clipped to, so that its words are within clip.

    Raises:
        FedbenchError: rounding alone may move so many numbers by as much as the clip.
    """
    left = shortened(privacy.clip, numbers, scheme)
    if left <= 0:
        raise FedbenchError(
            "The steps of secure sums are too coarse for privacy.clip, which rounding alone may "
            "exceed: lower secure.bound, or take secure.bits = 64."
        )
    return left


def words_of(config: RunConfig, update: Tensors, weight: float, sites: int) -> Words:
    """An update as words of a sum over ``sites``; those of a private site are within its clip.

    Raises:
        FedbenchError: a number is not finite, or beyond the bound, or the weight beyond the
            greatest.
    """
    secure, privacy = config.secure, config.private("site")
    assert secure is not None
    scheme = fixed_point(secure, sites)
    if privacy is not None:
        check_finite(update)
        update = clipped(update, limit(privacy, scheme, count(update)))
    return encoded(update, weight / greatest_weight(config, secure), scheme)


def agree(folder: Path, site: str, header: Header, body: bytes) -> Reply:
    """Answer an exchange that carries keys or shares.

    Raises:
        BadPayload: it is not this exchange's turn, or what was sent is not right.
    """
    try:
        private, told, reply = _STEPS[header["kind"]](folder, site, header, body)
    except Damaged:
        raise
    except FedbenchError as error:
        raise BadPayload(str(error)) from None
    _keep(folder, private)
    return {"kind": header["kind"], **told}, reply


def masked(
    folder: Path, config: RunConfig, header: Header, update: Tensors, weight: float
) -> bytes:
    """This site's update, its weight with it, as words under masks; clipped if sites are private.

    Raises:
        BadPayload: a number is not finite or beyond the bound, which nobody could see later.
    """
    try:
        delivery = Blocks.read({"sites": header.get("senders")}, _unhexed(header.get("shares")))
        private = _kept(folder)
        words = words_of(config, update, weight, len(private.terms.sites))
        after, reply = mask(private, delivery, words)
    except Damaged:
        raise
    except FedbenchError as error:
        raise BadPayload(str(error)) from None
    _keep(folder, after)
    return reply.tobytes()


Answer = tuple[Private, dict[str, Any], bytes]


def _advertise(folder: Path, site: str, header: Header, body: bytes) -> Answer:
    private, keys = advertise(Terms.read(header), site)
    return private, {}, keys


def _share(folder: Path, site: str, header: Header, body: bytes) -> Answer:
    private, blocks = share(_asked(folder, header), Blocks.read(header, body))
    return private, blocks.header(), blocks.body


def _unmask(folder: Path, site: str, header: Header, body: bytes) -> Answer:
    private, shares = unmask(_asked(folder, header), Reveal.read(header))
    return private, {}, shares


#: by kind of message
_STEPS: Mapping[str, Callable[[Path, str, Header, bytes], Answer]] = {
    "advertise": _advertise,
    "share": _share,
    "unmask": _unmask,
}
KINDS = frozenset(_STEPS)


def _unhexed(told: Any) -> bytes:
    try:
        return bytes.fromhex(told)
    except (TypeError, ValueError):
        raise BadPayload("A message to train carries no shares of other sites.") from None


def _keep(folder: Path, private: Private) -> None:
    """Where only its owner can read it, before the reply leaves."""
    write_bytes(folder / _NAME, framed({}, private.to_bytes()), secret=True)


def _kept(folder: Path) -> Private:
    path = folder / _NAME
    if not path.exists():
        raise BadPayload("This site was asked to go on with keys that it never made.")
    return Private.from_bytes(bytes(whole(path)[1]))


def _asked(folder: Path, header: Header) -> Private:
    """What is kept, if the message is of its attempt: a late one would spend the one answer."""
    private = _kept(folder)
    if any(header.get(name) != value for name, value in private.terms.named().items()):
        raise BadPayload("This message is of another attempt than this site made keys for.")
    return private


_NAME = "secure"
