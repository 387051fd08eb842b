"""The replies of a round: held against what was asked, and read one at a time from the disk.

Whatever a site sends that cannot be used is refused with a reason, and the round goes on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import torch

from fedbench.config import RunConfig
from fedbench.engines import Failure
from fedbench.errors import FedbenchError
from fedbench.files import spool_bytes
from fedbench.models.ranks import padded
from fedbench.privacy.turn import WORK, told_of_work
from fedbench.rules.rule import Contribution
from fedbench.snapshots import whole
from fedbench.wire import BadPayload, Schema, body_of, longest, opened
from fedbench.wire.codecs import Codec, codec_of, wrong_with
from fedbench.wire.schema import digest

Answers = Iterator[tuple[str, bytes | Failure]]
_LOG = logging.getLogger("fedbench")
_MOST = 2**53  #: up to here a double tells whole numbers apart
_OURS = re.compile(r"site-\d{2,5}|update|score|advertise|share|unmask")
_HEAVIEST = 2.0**31  #: weight that an update can have at most; at least it has the inverse, or none
#: what the header of a reply must say, in numbers
_COUNTS: Mapping[str, tuple[str, ...]] = {
    "score": ("n", "correct", "loss"),
}


class Asked(Protocol):
    """The messages of an exchange."""

    def seal(self, site: str) -> str:
        """By what the reply of a site refers to its message."""
        ...


@dataclass(frozen=True)
class Reply:
    """One site's answer: what its header says, how long it was, and where it is kept."""

    header: Mapping[str, Any]
    n_bytes: int
    path: Path | None = None  #: of an answer that carries tensors


@dataclass(frozen=True)
class Heard:
    """What came of an exchange."""

    replies: dict[str, Reply]  #: that were accepted, in the order of sites
    refused: dict[str, str] = field(default_factory=dict)  #: why, of those that were not
    n_bytes: int = 0  #: of all of them
    twice: frozenset[str] = frozenset()  #: who answered once more, after an answer was accepted


NOBODY = Heard({})


@dataclass(frozen=True)
class Form:
    """What the body of an update must be."""

    longest: Callable[[str], int]  #: bytes that the payload of a site takes at most
    check: Callable[[str, Mapping[str, Any], memoryview], None]  #: raises BadPayload


def in_tensors(config: RunConfig, expected: Callable[[str], Schema]) -> Form:
    """Tensors in the configuration's codec: of the names and shapes expected of a site, finite."""
    codec = codec_of(config.codec)
    return Form(
        lambda site: longest(codec, expected(site)),
        lambda site, header, body: _check_update(
            header, body, codec, expected(site), told_of_work(config)
        ),
    )


def in_words(n_bytes: int) -> Form:
    """A masked vector, of which only the length can be seen."""

    def check(site: str, header: Mapping[str, Any], body: memoryview) -> None:
        if len(body) != n_bytes:
            raise BadPayload(f"Its masked update has {len(body)} bytes, not {n_bytes}.")

    return Form(lambda site: n_bytes + longest(codec_of("fp32"), ()), check)


def spool(
    answers: Answers, asked: Asked, form: Form, folder: Path, before: Heard = NOBODY
) -> Heard:
    """Write the updates of a round to disk as they come, those that can be used.

    Args:
        answers: of an exchange.
        asked: the messages that they answer.
        form: what an update must be.
        folder: where updates are kept until they are read.
        before: what came of asking before with the same messages.
    """

    def accept(site: str, payload: bytes) -> Reply:
        header, body = _answer(site, payload, asked, "update", form.longest(site))
        form.check(site, header, body)
        path = folder / f"{site}.reply"
        spool_bytes(path, payload)  # a round that is begun again asks again
        return Reply(header, len(payload), path)

    return _sorted_out(answers, accept, before)


def heard(answers: Answers, asked: Asked, kind: str) -> Heard:
    """Replies of a ``kind`` that carry no tensors."""
    most = longest(codec_of("fp32"), ())

    def accept(site: str, payload: bytes) -> Reply:
        header, body = _answer(site, payload, asked, kind, most)
        if len(body):
            raise BadPayload("Its reply carries tensors, and none were asked for.")
        return Reply(header, len(payload))

    return _sorted_out(answers, accept)


def bodies(
    answers: Answers,
    asked: Asked,
    kind: str,
    n_bytes: int,
    check: Callable[[str, Mapping[str, Any], bytes], None] = lambda site, header, body: None,
) -> tuple[dict[str, tuple[Mapping[str, Any], bytes]], Heard]:
    """Headers and bodies of replies that are small enough to be kept, by site.

    Whose reply ``check`` raises a FedbenchError for is refused like any other.
    """
    kept: dict[str, tuple[Mapping[str, Any], bytes]] = {}

    def accept(site: str, payload: bytes) -> Reply:
        header, body = _answer(site, payload, asked, kind, n_bytes + longest(codec_of("fp32"), ()))
        if len(body) != n_bytes:
            raise BadPayload(f"Its reply has a body of {len(body)} bytes, not {n_bytes}.")
        try:
            check(site, header, bytes(body))
        except FedbenchError as error:
            raise BadPayload(str(error)) from None
        kept[site] = header, bytes(body)
        return Reply(header, len(payload))

    found = _sorted_out(answers, accept)
    return {site: kept[site] for site in found.replies}, found


def contributions(
    replies: Mapping[str, Reply], config: RunConfig, expected: Callable[[str], Schema]
) -> Iterator[Contribution]:
    """Contributions in the order of ``replies``, one in memory at a time, all of the same rank.

    What was read is removed from the disk, where replies of all sites ever heard would pile up.
    """
    codec = codec_of(config.codec)
    for site, reply in replies.items():
        assert reply.path is not None
        _, body = whole(reply.path)
        reply.path.unlink()
        tensors = body_of(body, codec, expected(site))
        yield Contribution(padded(tensors, config.rank), float(reply.header["weight"]))


def _sorted_out(
    answers: Answers, accept: Callable[[str, bytes], Reply], before: Heard = NOBODY
) -> Heard:
    """Every answer accepted, or refused with a reason, which is logged.

    Whoever was accepted stays so, whatever comes of it afterwards.
    """
    replies, refused, twice = {**before.replies}, dict[str, str](), set(before.twice)
    n_bytes = before.n_bytes
    for site, answer in answers:
        if isinstance(answer, Failure):
            if site not in replies:
                refused[site] = answer.reason
            continue
        n_bytes += len(answer)
        try:
            if site in replies:
                raise BadPayload("It has answered already.")
            replies[site] = accept(site, answer)
            refused.pop(site, None)
        except BadPayload as error:
            if site in replies:
                _LOG.warning("A second answer of %s is ignored.", site)
                twice.add(site)
            else:
                refused[site] = str(error)
    for site, reason in sorted(refused.items()):
        _LOG.warning("An answer of %s is refused, and the round goes on: %s", site, reason)
    refused = {s: why for s, why in {**before.refused, **refused}.items() if s not in replies}
    in_order = dict(sorted(replies.items())), dict(sorted(refused.items()))
    return Heard(*in_order, n_bytes, frozenset(twice))


def _answer(
    site: str, payload: bytes, asked: Asked, kind: str, most: int
) -> tuple[dict[str, Any], memoryview]:
    """Header and body, if they answer the very message that was sent to this very site.

    Raises:
        BadPayload: oversized, damaged, foreign, of another site, kind or message, or incomplete.
    """
    if len(payload) > most:
        raise BadPayload(f"Its reply has {len(payload)} bytes; {most} are the most it can need.")
    header, body = opened(payload)
    for name, value in {"site": site, "kind": kind}.items():
        if header.get(name) != value:
            raise BadPayload(f"Its reply has {name} {_short(header.get(name))}, not {value!r}.")
    if header.get("answers") != asked.seal(site):
        raise BadPayload("Its reply answers another message: it is a replay, or of another run.")
    _check_counts(header, kind)
    return header, body


def _check_counts(header: Mapping[str, Any], kind: str) -> None:
    """Make sure that the counts of a reply can be added up.

    Raises:
        BadPayload: one is no number, is negative or is beyond all that can be counted.
    """
    told = [name for name in (*WORK, "epsilon", "micro_batch") if name in header]
    for name in (*_COUNTS.get(kind, ()), *told):
        if not _is_count(header.get(name)):
            raise BadPayload(
                f"Its reply has {name} {_short(header.get(name))}, which is no number that it can "
                "have."
            )
    if kind == "score" and header["correct"] > header["n"]:
        raise BadPayload(f"Its reply has {header['correct']} of {header['n']} answers right.")


def _check_update(
    header: Mapping[str, Any],
    body: memoryview,
    codec: Codec,
    schema: Schema,
    work: Sequence[str],
) -> None:
    """Make sure that an update can be added to others, and says what it must of its ``work``.

    Raises:
        BadPayload: it does not, consists of other tensors, is written otherwise, or is not finite.
    """
    if absent := [name for name in work if name not in header]:
        raise BadPayload(f"Its update does not say {', '.join(absent)}.")
    if header.get("codec") != codec.name:
        raise BadPayload(
            f"Its update is written as {_short(header.get('codec'))}, not {codec.name!r}."
        )
    if header.get("schema") != digest(schema):
        raise BadPayload("Its update does not consist of the tensors that were asked for.")
    weight = header.get("weight")
    if not _is_count(weight) or not (weight == 0 or 1 / _HEAVIEST <= weight <= _HEAVIEST):
        raise BadPayload(f"Its update has the weight {_short(weight)}, which none can have.")
    for name, tensor in body_of(body, codec, schema).items():
        if not torch.isfinite(tensor).all():
            raise BadPayload(f"Its update is not finite: {name} holds nan or infinity.")


def _is_count(value: Any) -> TypeGuard[float]:
    """Whether it is a number from 0 to what a double still counts."""
    return type(value) in (int, float) and 0 <= value <= _MOST


def _short(value: Any) -> str:
    """What a site wrote, as the server's log may hold it: numbers and our own words, no texts."""
    if isinstance(value, int) and abs(value) >= _MOST:
        return "beyond 2**53"
    if value is None or isinstance(value, int | float):
        return repr(value)
    ours = isinstance(value, str) and (_OURS.fullmatch(value) or not wrong_with("codec", value))
    return repr(value) if ours else "of another kind"
