"""``python -m fedbench site``: one institution takes part in a federation with its own file."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from subprocess import Popen

from flwr.clientapp import ClientApp

from fedbench.config import RunConfig
from fedbench.deployment import consenting
from fedbench.deployment.children import log_of
from fedbench.deployment.consenting import House
from fedbench.deployment.door import Door
from fedbench.deployment.guarding import RECORD, Answer, Guard
from fedbench.deployment.hurrying import within
from fedbench.deployment.lifetime import spent_of_life
from fedbench.deployment.node import Entrance, answer_messages, node
from fedbench.deployment.node_log import for_good, lost, passing
from fedbench.deployment.own_data import own_context, own_test, training_digest
from fedbench.deployment.proposing import KEPT, OFF, RESULT, Proposal
from fedbench.deployment.record import verify
from fedbench.deployment.results import ADAPTER, acknowledged, learned, readme, worth
from fedbench.deployment.signing import name_of, signature
from fedbench.deployment.telling import AtSite, Say
from fedbench.engines import Failure
from fedbench.engines.over_flower import answering_app
from fedbench.errors import FedbenchError
from fedbench.exporting import write_adapter
from fedbench.locks import Busy, locked
from fedbench.models.attached import attached
from fedbench.privacy.chance import REAL
from fedbench.seeding import single_thread
from fedbench.site import SiteContext
from fedbench.wire import BadPayload, opened

_LAST = 4.0  #: seconds in which Flower takes the last answer away
_LISTEN = 1.0  #: seconds between two looks at what a SuperNode says
_AGAIN = 5.0  #: seconds before another try to connect


@dataclass
class _Ending:
    """Why a site stops, once it does."""

    why: str = ""
    refused: bool = False
    since: float = 0.0

    def now(self, why: str, *, refused: bool = False) -> None:
        self.why, self.refused, self.since = why, refused, time.monotonic()

    @property
    def over(self) -> bool:
        """Whether Flower has had the time to take the last answer away."""
        return bool(self.since) and time.monotonic() - self.since > _LAST


def take_part(house: House, entrance: Entrance, say: Say) -> str:
    """Answer a server until its run has ended; what came of it is returned.

    Raises:
        Busy: another process takes part with the same folder.
        Damaged: the record of what left this site is not what was written.
        FedbenchError: the site does not take part, or cannot reach its server, and why.
    """
    record = house.folder / RECORD
    if record.exists():
        verify(record)
    ending = _Ending()
    try:
        with locked(house.folder / "site.lock", wait=False), single_thread(), ExitStack() as models:
            app = answering_app(_answers(house, models, ending, say), partial(signature, house.key))
            _answer_until(app, entrance, house.folder / "flower", ending, say)
    except Busy as busy:
        raise Busy(f"This site is taking part already. {busy}") from None
    if ending.refused:
        raise FedbenchError(f"This site does not take part. {ending.why}")
    return ending.why


def _answers(house: House, models: ExitStack, ending: _Ending, say: Say) -> Answer:
    """What the site answers to all that comes."""
    guard = Guard(house.policy, house.folder, training_digest(house.task))
    spent = partial(spent_of_life, house.folder, house.policy)
    tally = AtSite(say, spent, house.policy.epsilon)
    worths: dict[str, str] = {}  # by run: what its adapter is worth here

    def objections(proposal: Proposal) -> list[str]:
        found = consenting.objections(house, proposal)
        if not found:
            say(f"Run {proposal.config.id}: {consenting.in_words(proposal)}.")
        return found

    def refusing(reasons: list[str]) -> None:
        ending.now(" ".join(reasons), refused=True)

    def enter(config: RunConfig, site: str) -> SiteContext:
        models.close()
        model = models.enter_context(attached(config))
        state = house.folder / "runs" / config.id / "state"
        context = own_context(config, site, house.task, model, state)
        limit = partial(within, seconds=house.policy.longest_round)
        return replace(context, chance=REAL, around=limit)

    def around(context: SiteContext, payload: bytes, answer: Answer) -> bytes | Failure:
        began, (header, _), run = time.monotonic(), opened(payload), context.config.id
        if header.get("kind") == OFF:
            ending.now("Its server has called the federation off.", refused=True)
            return acknowledged(OFF, context.site, payload)
        if header.get("kind") == RESULT:
            answer = partial(_keep, house, context, leave, partial(worths.__setitem__, run))
        try:
            found: bytes | Failure = guard.answered(context, payload, answer)
        except BadPayload as error:
            found = Failure(str(error))
        else:
            if header.get("kind") == RESULT:  # kept just now, or by a process that was killed then
                folder = _adapter(house, run)
                told = f"The federation has ended. Its adapter is in {folder}."
                ending.now(f"{told} {worths.get(run, '')}".rstrip())
        tally.answered(context.config, header, found, time.monotonic() - began)
        return found

    def leave() -> None:
        models.close()  # no model has two adapters
        door.leave()

    own = name_of(house.key.public_key())
    door = Door(own, house.folder, objections, enter, refusing, around)
    return guard.recorded(door.answer)


def _adapter(house: House, run: str) -> Path:
    """Where a site keeps what a run has learned."""
    return house.folder / "runs" / run / ADAPTER


def _keep(
    house: House,
    context: SiteContext,
    leave: Callable[[], None],
    tell: Callable[[str], None],
    payload: bytes,
) -> bytes:
    """Keep what the federation has learned, and tell what it is worth here."""
    config, items = context.config, own_test(context.config, house.task)
    adapter, delta = learned(context, payload)
    before, after = worth(context, items, adapter, delta)
    leave()
    folder = _adapter(house, config.id)
    if not folder.exists():
        write_adapter(folder, config, adapter, delta, readme(config))
    tell(
        f"Of this site's own {len(items)} test items, the backbone answers {before} rightly "
        f"without it and {after} with it."
    )
    return acknowledged(KEPT, context.site, payload)


def _answer_until(
    app: ClientApp, entrance: Entrance, home: Path, ending: _Ending, say: Say
) -> None:
    """Connect, and connect again whenever Flower's node has ended, until there is an end.

    Raises:
        FedbenchError: there is no use in connecting again.
    """
    while True:
        with node(entrance, home) as (started, runtime):
            heard = _Heard(log_of("node", home), entrance, say)
            answer_messages(runtime, app, partial(_going, started, heard, ending))
            if ending.since:  # and that the server is gone by now is no news
                return
            heard.listen()
        if (sentence := for_good(heard.said, entrance)) is not None:
            raise FedbenchError(sentence)
        say(f"The connection with {entrance.server} ended: this site connects again.")
        time.sleep(_AGAIN)


def _going(started: Popen[bytes], heard: _Heard, ending: _Ending) -> bool:
    if not ending.since and time.monotonic() - heard.looked > _LISTEN:
        heard.listen()
    return not ending.over and not lost(heard.said) and started.poll() is None


@dataclass
class _Heard:
    """What a SuperNode has said since it began, and what of it people were told."""

    log: Path
    entrance: Entrance
    say: Callable[[str], None]
    said: str = ""
    told: str = ""
    looked: float = 0.0
    begin: int = field(init=False)

    def __post_init__(self) -> None:
        self.begin = self.log.stat().st_size if self.log.exists() else 0

    def listen(self) -> None:
        """Look for what is new."""
        self.looked = time.monotonic()
        with self.log.open("rb") as handle:
            handle.seek(self.begin)
            self.said = handle.read().decode(errors="replace")
        sentence = passing(self.said, self.entrance)
        if sentence and sentence != self.told:
            self.told = sentence
            self.say(sentence)
