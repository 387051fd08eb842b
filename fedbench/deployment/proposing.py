"""What a server proposes to whoever connects, and what a site answers: the messages before a run.

A proposal tells the whole configuration. A site that agrees takes part under the number that stands
beside the name of its key; one that does not says why, and nothing else of it is heard. Both answer
with the proposal's nonce under their signature, so that it cannot be an answer of another day.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fedbench.config import RunConfig, parse_config
from fedbench.errors import FedbenchError, heard, shown
from fedbench.hashing import sha256_json
from fedbench.tasks.spec import TaskSpec
from fedbench.wire import BadPayload, framed, opened

PROPOSE, AGREE, REFUSE = "propose", "agree", "refuse"
OFF = "off"  #: that a run will not come about
RESULT, KEPT = "result", "kept"  #: the adapter that a run ended with, and that a site has it
_REASONS, _LONG = 20, 500  #: that are told and listened to, and characters of each
_MOST = 10_000  #: sites of a federation, as many as a configuration may say
_KEY, _SITE = re.compile(r"[0-9a-f]{64}"), re.compile(r"site-[0-9]{2,5}")
_NONCE = re.compile(r"[0-9a-f]{32}")
#: of a task's description, what makes two sites ask the same: not where their rows are
_ASKED = (
    "name", "scoring", "prompt", "blind_prompt", "labels", "options", "on_duplicate_options",
    "answer", "group", "cluster",
)  # fmt: skip


@dataclass(frozen=True)
class Proposal:
    """A run that a server proposes."""

    config: RunConfig
    task: str  #: digest of what is asked (:func:`asked_by`)
    backbone: str  #: SHA-256
    sites: Mapping[str, str]  #: names of the keys of all who may take part -> site
    simulated: bool  #: whether noise and samples come from seeds, so that nothing is protected
    nonce: str = ""

    def payload(self) -> bytes:
        """The message, with a nonce that nobody saw before."""
        return framed(replace(self, nonce=secrets.token_hex(16)).header(), b"")

    def header(self) -> dict[str, Any]:
        """All that it says, as values of a header."""
        return {
            "kind": PROPOSE,
            "run": self.config.id,
            "config": self.config.model_dump(mode="json"),
            "task": self.task,
            "backbone": self.backbone,
            "sites": dict(self.sites),
            "simulated": self.simulated,
            "nonce": self.nonce,
        }


def asked_by(spec: TaskSpec) -> str:
    """Digest of how a task asks and what counts as an answer."""
    return sha256_json(spec.model_dump(mode="json", include=set(_ASKED)))


def read_proposal(header: Mapping[str, Any]) -> Proposal:
    """The proposal in the header of a message.

    Raises:
        BadPayload: it is none, or its configuration is no configuration.
    """
    kinds = {"config": dict, "task": str, "backbone": str, "sites": dict, "simulated": bool,
             "nonce": str, "run": str}  # fmt: skip
    for name, kind in kinds.items():
        if type(header.get(name)) is not kind:
            raise BadPayload(f"A proposal has {name} {shown(header.get(name))}, which cannot be.")
    _check_names(header["sites"], header["nonce"])
    try:
        config = parse_config(header["config"])
        if config.id != header["run"]:
            raise BadPayload("A proposal's run is not that of its configuration.")
    except FedbenchError as error:
        raise BadPayload(f"A proposal cannot be used. {error}") from None
    names = ("task", "backbone", "sites", "simulated", "nonce")
    return Proposal(config, **{name: header[name] for name in names})


def _check_names(sites: Mapping[str, Any], nonce: str) -> None:
    """Make sure that sites have names like ours: a site keeps what it knows in a folder called so.

    Raises:
        BadPayload: they do not, two have the same, or there are too many.
    """
    if not 1 <= len(sites) <= _MOST:
        raise BadPayload(f"A proposal has {len(sites)} sites, which cannot be.")
    for key, site in sites.items():
        if not (_KEY.fullmatch(key) and isinstance(site, str) and _SITE.fullmatch(site)):
            raise BadPayload(f"A proposal has a site {shown(site)} of key {shown(key)}: no names.")
    if len(set(sites.values())) < len(sites):
        raise BadPayload("A proposal has one name for two sites.")
    if not _NONCE.fullmatch(nonce):
        raise BadPayload(f"A proposal has nonce {shown(nonce)}, which cannot be.")


def agreed(proposal: Proposal, key: str) -> bytes:
    """The answer of a site that takes part."""
    told = {"kind": AGREE, "run": proposal.config.id, "nonce": proposal.nonce, "key": key}
    return framed(told, b"")


def refused(proposal: Proposal, key: str, reasons: Sequence[str]) -> bytes:
    """The answer of a site that does not."""
    told = {"kind": REFUSE, "run": proposal.config.id, "nonce": proposal.nonce, "key": key}
    return framed({**told, "reasons": [one[:_LONG] for one in reasons[:_REASONS]]}, b"")


@dataclass(frozen=True)
class Reply:
    """What came back to a proposal."""

    key: str  #: name of the key that it should be signed by
    reasons: tuple[str, ...] = ()  #: why a site does not take part; empty if it does


def read_reply(asked: bytes, payload: bytes) -> Reply:
    """What a site answered to the proposal ``asked``.

    Raises:
        BadPayload: it is no answer to it.
    """
    proposed, (header, body) = opened(asked)[0], opened(payload)
    same = all(header.get(name) == proposed[name] for name in ("run", "nonce"))
    key, reasons = header.get("key"), header.get("reasons", [])
    right = header.get("kind") == (REFUSE if reasons else AGREE) and isinstance(key, str)
    if not (same and right and isinstance(reasons, list) and not len(body)):
        raise BadPayload("It answered a proposal with something else.")
    return Reply(str(key), tuple(heard(str(one), _LONG) for one in reasons[:_REASONS]))
