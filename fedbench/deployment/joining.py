"""Who is there: nodes that connect are proposed the run, and become sites when they agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from flwr.app import Message
from flwr.serverapp import Grid

from fedbench.deployment.proposing import Proposal, read_reply
from fedbench.deployment.signing import check, name_of
from fedbench.engines.over_flower import GONE, Present, Unproven, content_of, payload_of
from fedbench.errors import heard
from fedbench.wire import BadPayload

_LATEST = 600.0  #: seconds that a node has to answer a proposal


@dataclass
class Joining:
    """The directory of a federation: whenever it is looked into, who is new is proposed the run.

    A node is known by the signature under its answer, whatever Flower calls it. One that does not
    take part is proposed the run again when it connects anew.
    """

    grid: Grid
    nodes: Callable[[], Mapping[int, Present]]  #: connected just now
    proposal: Proposal
    keys: Mapping[str, EllipticCurvePublicKey]  #: by site
    say: Callable[[str], None] = lambda text: None
    called: Mapping[str, str] = field(default_factory=dict)  #: names for people, by site
    refusals: dict[str, str] = field(default_factory=dict)  #: by site, why it does not take part
    _sites: dict[int, str] = field(default_factory=dict)
    _asked: dict[str, tuple[Present, bytes]] = field(default_factory=dict)
    _out: set[Present] = field(default_factory=set)  #: who does not take part

    def directory(self) -> dict[str, Present]:
        """Sites that are connected and have agreed."""
        self._hear()
        there = self.nodes()
        for node in there.keys() - self._sites.keys():
            self._propose(there[node])
        return {self._sites[node]: at for node, at in there.items() if node in self._sites}

    def _propose(self, to: Present) -> None:
        if to in self._out or to in (present for present, _ in self._asked.values()):
            return
        payload = self.proposal.payload()
        message = Message(content_of(payload), to.node, "query", ttl=_LATEST)
        (name,) = self.grid.push_messages([message])
        if name:
            self._asked[name] = to, payload

    def _hear(self) -> None:
        for reply in [*self.grid.pull_messages([*self._asked])] if self._asked else []:
            present, asked = self._asked.pop(reply.metadata.reply_to_message_id)
            if reply.has_error() and reply.error.code in GONE:
                continue
            try:
                site, why = self._heard(asked, reply)
            except (BadPayload, Unproven) as error:
                self._out.add(present)
                self.say(f"A node that connected is not let in. {error}")
                continue
            if why:
                self._out.add(present)
                self.refusals[site] = why
                self.say(f"{self._name(site)} does not take part. {why}")
            else:
                self.refusals.pop(site, None)
                left = {node: one for node, one in self._sites.items() if one != site}
                self._sites = {**left, present.node: site}
                self.say(f"{self._name(site)} takes part, as {site}.")

    def _name(self, site: str) -> str:
        return self.called.get(site, site)

    def _heard(self, asked: bytes, reply: Message) -> tuple[str, str]:
        """Which site answered a proposal, and why it does not take part; empty if it does.

        Raises:
            BadPayload: it is no answer to it.
            Unproven: it is not signed by a key that is known here.
        """
        if reply.has_error():
            raise Unproven(heard(reply.error.reason or ""))
        payload, said = payload_of(reply.content)
        told = read_reply(asked, payload)
        site = {name_of(key): one for one, key in self.keys.items()}.get(told.key)
        if site is None:
            raise Unproven("It names a key that is not known here.")
        check(self.keys[site], payload, said)
        return site, " ".join(told.reasons)
