"""What stands around a site's answers: its policy, its budget, its record.

Nothing that a server sends reaches the site's examples before the policy was asked, and nothing
leaves before it was written down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedbench.deployment.lifetime import spend_of_life, spent_of_life
from fedbench.deployment.policy import SitePolicy, check_message, check_size
from fedbench.deployment.record import Entry, append
from fedbench.deployment.resending import RUN, answered_once
from fedbench.engines import Failure
from fedbench.hashing import sha256_bytes
from fedbench.privacy.ledger import BudgetSpent
from fedbench.site import SiteContext
from fedbench.wire import BadPayload, opened, seal

Answer = Callable[[bytes], bytes | Failure]
RECORD = "record.jsonl"
_REPLIES = "replies"


@dataclass(frozen=True)
class Guard:
    """A site's policy, where it keeps what it must not forget, and which data it is about."""

    policy: SitePolicy
    folder: Path
    data: str  #: SHA-256 of the training examples

    def answered(self, context: SiteContext, payload: bytes, answer: Answer) -> bytes:
        """The answer to a message of a run that the site agreed to.

        Raises:
            BadPayload: the policy does not allow it, the budget is spent, or there is no answer.
        """
        header, _ = opened(payload)
        config, examples = context.config, len(context.training)
        if header.get("run") != config.id:
            raise BadPayload("A message is of another run than the one that it came for.")
        check_message(self.policy, config, header, len(payload), examples)

        def anew(message: bytes) -> bytes:
            if header["kind"] == "train" and config.private("example") is not None:
                self._spend(context, header)
            found = answer(message)
            if isinstance(found, Failure):
                raise BadPayload(found.reason)
            check_size(self.policy, len(found))
            return found

        return answered_once(self.folder / _REPLIES, payload, anew)

    def _spend(self, context: SiteContext, header: Mapping[str, Any]) -> None:
        try:
            spend_of_life(self.folder, self.policy, context.config, header, self.data)
        except BudgetSpent:
            raise BadPayload("The budget of this site's data is spent.") from None

    def recorded(self, answer: Answer) -> Answer:
        """The same answers, each of which is written into the site's record before it is given."""

        def outer(payload: bytes) -> bytes | Failure:
            asked: Mapping[str, Any] = {}
            found: bytes | Failure
            try:
                check_size(self.policy, len(payload))  # before anything of it is read
                found, asked = answer(payload), _header(payload)
            except BadPayload as error:
                found = Failure(str(error))
            spent = spent_of_life(self.folder, self.policy)
            append(self.folder / RECORD, _entry(asked, seal(payload), found, spent))
            return found

        return outer


def _entry(
    asked: Mapping[str, Any], seal: str, found: bytes | Failure, epsilon: float | None
) -> Entry:
    """What the record says of an answer to a payload with this header and seal."""
    sent = found.reason.encode() if isinstance(found, Failure) else found
    run, round_ = asked.get("run"), asked.get("round")
    return Entry(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        run=run if isinstance(run, str) and RUN.fullmatch(run) else "unknown",
        round=round_ if type(round_) is int and 0 <= round_ < 10**9 else 0,
        kind="failure" if isinstance(found, Failure) else str(_header(found).get("kind")),
        bytes=len(sent),
        sha256=sha256_bytes(sent),
        answers=seal,
        epsilon=epsilon,
    )


def _header(payload: bytes) -> Mapping[str, Any]:
    try:
        return opened(payload)[0]
    except BadPayload:
        return {}
