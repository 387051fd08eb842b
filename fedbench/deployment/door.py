"""What comes to a site's door: a proposal, which it agrees to or not, or a message of a run.

A run that a site agreed to is written down, so that a site that was stopped knows it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedbench.config import RunConfig
from fedbench.deployment.proposing import PROPOSE, Proposal, agreed, read_proposal, refused
from fedbench.deployment.resending import RUN
from fedbench.engines import Failure
from fedbench.engines.answering import answer
from fedbench.errors import FedbenchError, shown
from fedbench.files import private_folder, read_json, write_json
from fedbench.site import SiteContext
from fedbench.wire import BadPayload, opened

#: why a site does not take part in a proposed run; nothing if it does
Objections = Callable[[Proposal], list[str]]
#: what a site is in a run that it agreed to, under the name that it has there
Enter = Callable[[RunConfig, str], SiteContext]
_AGREED = "agreed.json"
MOST = 256  #: runs that a site keeps something of: an end to what it keeps


@dataclass(frozen=True)
class Door:
    """Answers all that a site is sent."""

    key: str  #: name of the site's public key
    folder: Path  #: of the site; runs have folders in it
    objections: Objections
    enter: Enter
    refusing: Callable[[list[str]], None]  #: told every reason, whenever a run is refused
    #: around the answer to a message of a run
    around: Callable[[SiteContext, bytes, Callable[[bytes], bytes | Failure]], bytes | Failure]
    _entered: dict[str, SiteContext] = field(default_factory=dict)

    def answer(self, payload: bytes) -> bytes | Failure:
        """The answer to a payload, or why there is none."""
        try:
            header, _ = opened(payload)
            if header.get("kind") == PROPOSE:
                return self._agree(header)
            context = self._context(header)
            return self.around(context, payload, lambda message: answer(context, message))
        except BadPayload as error:
            return Failure(str(error))

    def leave(self) -> None:
        """Forget the run that this process is in; a message of it has it entered anew."""
        self._entered.clear()

    def _agree(self, header: Mapping[str, Any]) -> bytes:
        """Agree to a proposal, once all is there that its run needs; or say why not."""
        proposal = read_proposal(header)
        if reasons := self._kept_out(proposal):
            return refused(proposal, self.key, reasons)
        private_folder(self._runs)  # what a codec owes lies below it
        write_json(self._run(proposal.config.id) / _AGREED, proposal.header())
        return agreed(proposal, self.key)

    def _kept_out(self, proposal: Proposal) -> list[str]:
        """Enter a run; or why not, which whoever runs the site is told too."""
        reasons = self._against(proposal) or [*self._too_many(proposal.config.id)]
        if not reasons:
            try:
                self._enter(proposal)
            except FedbenchError as error:
                reasons = [str(error)]
        if reasons:
            self.refusing(reasons)
        return reasons

    def _enter(self, proposal: Proposal) -> None:
        site, known = proposal.sites[self.key], self._entered.get(proposal.config.id)
        if known is None or known.site != site:
            self._entered.clear()  # one model at a time
            self._entered[proposal.config.id] = self.enter(proposal.config, site)

    def _too_many(self, run: str) -> Iterator[str]:
        runs = self.folder / "runs"
        if not self._run(run).exists() and len([*runs.glob("*")]) >= MOST:
            yield (
                f"This site has taken part in {MOST} runs, which it keeps: move those that are "
                f"over from its folder {runs.name}, and their replies with them."
            )

    def _against(self, proposal: Proposal) -> list[str]:
        if self.key not in proposal.sites:
            return ["Its server does not name this site's key among those who take part."]
        return self.objections(proposal)

    def _context(self, header: Mapping[str, Any]) -> SiteContext:
        """What the site is in the run of a message; its agreement is looked at again once.

        Raises:
            BadPayload: it never agreed to that run, or would not do so any more.
        """
        run = header.get("run")
        if not isinstance(run, str) or not RUN.fullmatch(run):
            raise BadPayload(f"A message is of the run {shown(run)}, which cannot be.")
        if run not in self._entered:
            path = self._run(run) / _AGREED
            if not path.exists():
                raise BadPayload("A message is of a run that this site never agreed to.")
            proposal = read_proposal(read_json(path))
            if reasons := self._kept_out(proposal):
                raise BadPayload(" ".join(reasons))
        return self._entered[run]

    def _run(self, run: str) -> Path:
        return self._runs / run

    @property
    def _runs(self) -> Path:
        return self.folder / "runs"
