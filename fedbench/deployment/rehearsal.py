"""A run of a simulation over Flower, all of it on this machine: a SuperLink, and a node per site.

It is what happens between machines, certificates and signatures included, but for the data: each
site is given its share by the configuration's partition, and noise comes from its seeds. So it ends
with the same bits as in process. A site that holds real data takes no part in such a run. As in
process, no result depends on a clock: deadlines do not apply, and whoever fails to begin or ends
before its time stops the run.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import Popen

from torch import nn

from fedbench.config import RunConfig
from fedbench.deployment.children import child, last_said
from fedbench.deployment.door import Door
from fedbench.deployment.issuing import issue_server, issue_site
from fedbench.deployment.joining import Joining
from fedbench.deployment.keys import as_registered, public_key, server_certificates, site_key
from fedbench.deployment.link import Certificates, link
from fedbench.deployment.node import Entrance, answer_messages, node
from fedbench.deployment.proposing import Proposal, asked_by
from fedbench.deployment.runtime import free_port
from fedbench.deployment.signing import check, name_of, signature
from fedbench.engines import Engine, Failure
from fedbench.engines.over_flower import OverFlower, Present, answering_app
from fedbench.errors import FedbenchError
from fedbench.faults import NONE
from fedbench.files import on_disk
from fedbench.models.attached import attached
from fedbench.models.backbones import digest
from fedbench.prepare import Prepared, prepare, site_contexts
from fedbench.seeding import single_thread
from fedbench.site import SiteContext
from fedbench.tasks.specfile import read_spec

_HERE = "127.0.0.1"
_AWAY = 3600.0  #: seconds that a site may take to begin; one that ended is noticed at once
_FOLDER = "flower-"  #: what the name of a rehearsal's own folder begins with

Say = Callable[[str], None]


@contextmanager
def rehearsed(
    prepared: Prepared, model: nn.Module, folder: Path, say: Say = lambda text: None
) -> Iterator[Engine]:
    """The sites of a run as processes of this machine, behind Flower.

    What is Flower's has a folder of its own each time: a run that was killed goes on from what its
    sites kept, whatever became of the processes around them.

    Args:
        prepared: of the run.
        model: not used here; every site has its own.
        folder: what sites keep.
        say: is told at the end how many bytes went through Flower.

    Raises:
        FedbenchError: the configuration has faults, a site does not take part, or a process ended
            before its time.
    """
    config = prepared.config
    if config.faults != NONE:
        raise FedbenchError(
            f"faults = {config.faults!r} is simulated in process and not over Flower: leave out "
            "--engine flower, or the faults."
        )
    home = _fresh(folder)
    try:
        yield from _rehearsed(prepared, folder, home, say)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _rehearsed(prepared: Prepared, folder: Path, home: Path, say: Say) -> Iterator[Engine]:
    sites, keys, port = prepared.partition.trained, home / "keys", free_port()
    certificates = _issued(sites, keys)
    publics = {site: public_key(keys / f"{site}.pub") for site in sites}
    proposal = Proposal(
        prepared.config,
        asked_by(read_spec(prepared.config.task)[0]),
        digest(prepared.config.backbone),
        {name_of(key): site for site, key in publics.items()},
        simulated=True,
    )
    registered = [as_registered(key) for key in publics.values()]
    with ExitStack() as stack:
        held = stack.enter_context(link(_HERE, port, certificates, registered, home / "link"))
        children: dict[str, Popen[bytes]] = {}
        for site in sites:
            own = home / site
            own.mkdir()
            options = [f"{_HERE}:{port}", str(keys), site, str(folder), str(own)]
            children[site] = stack.enter_context(child("site", options, own))
        stack.callback(_end, children.values())  # all at once, before each is waited for
        joining = Joining(held.grid, held.nodes, proposal, publics)

        def directory() -> Mapping[str, Present]:
            there = joining.directory()
            _check(children, joining.refusals, home)
            return there

        proven = lambda site, payload, said: check(publics[site], payload, said)  # noqa: E731
        engine = _Unhurried(OverFlower(held.grid, directory, _AWAY, proven))
        yield engine
        say(_told(engine.payloads, sum(held.traffic())))


def _fresh(folder: Path) -> Path:
    """A new folder that only this user can read; what killed rehearsals left is removed."""
    with on_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{_FOLDER}*"):
            shutil.rmtree(left, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=_FOLDER, dir=folder))


def _issued(sites: tuple[str, ...], folder: Path) -> Certificates:
    """Keys of a server and of sites."""
    issue_server(folder, [_HERE], days=30)
    for site in sites:
        issue_site(folder, site)
    found = server_certificates(folder, _HERE)
    return Certificates(found.certificate, found.key, found.authority)


def _check(children: Mapping[str, Popen[bytes]], refusals: Mapping[str, str], home: Path) -> None:
    """Make sure that all sites are there: as in process, a result must not depend on who is not.

    Raises:
        FedbenchError: one is not.
    """
    for site, why in refusals.items():
        raise FedbenchError(f"{site} does not take part in its rehearsal. {why}")
    for site, process in children.items():
        if process.poll() is not None:
            said = last_said("site", home / site)
            raise FedbenchError(
                f"The process of {site} ended before its time; it said last: {said}"
            )


def _end(children: Iterable[Popen[bytes]]) -> None:
    for one in children:
        one.terminate()


def _told(payloads: int, all_: int) -> str:
    return (
        f"over Flower: {payloads / 1e6:.3g} MB of payloads in both directions, and "
        f"{(all_ - payloads) / 1e6:.3g} MB more, which are Flower's own and what was agreed before"
    )


@dataclass
class _Unhurried:
    """An engine that no deadline applies to, as in process; what it carries is counted."""

    engine: Engine
    payloads: int = 0  #: bytes of payloads in both directions, each time that one was sent

    def exchange(
        self, messages: Mapping[str, bytes], deadline: float | None = None
    ) -> Iterator[tuple[str, bytes | Failure]]:
        """Send each site its message; yield replies as they come."""
        for site, found in self.engine.exchange(_Taken(messages, self._count), None):
            if not isinstance(found, Failure):
                self._count(found)
            yield site, found

    def _count(self, payload: bytes) -> None:
        self.payloads += len(payload)


@dataclass(frozen=True)
class _Taken(Mapping[str, bytes]):
    """Messages of which ``taken`` is told each time that one is made."""

    messages: Mapping[str, bytes]
    taken: Callable[[bytes], None]

    def __getitem__(self, site: str) -> bytes:
        message = self.messages[site]
        self.taken(message)
        return message

    def __iter__(self) -> Iterator[str]:
        return iter(self.messages)

    def __len__(self) -> int:
        return len(self.messages)


def be_site(server: str, keys: str, site: str, folder: str, home: str) -> None:
    """Be one site of a rehearsal, in a process of its own, until its parent ends.

    Args:
        server: host:port.
        keys: folder of all keys.
        site: its name.
        folder: what sites keep.
        home: folder of this process's own files.
    """
    key = site_key(Path(keys) / f"{site}.key")
    models = ExitStack()

    def enter(config: RunConfig, site: str) -> SiteContext:
        model = models.enter_context(attached(config))
        return site_contexts(prepare(config), model, Path(folder))[site]

    door = Door(
        name_of(key.public_key()),
        Path(home) / "door",
        _only_simulations,
        enter,
        lambda reasons: None,  # its parent is told by the server
        lambda context, payload, answer: answer(payload),
    )
    app = answering_app(door.answer, partial(signature, key))
    entrance = Entrance(server, Path(keys) / "ca.pem", Path(keys) / f"{site}.key")
    with single_thread(), node(entrance, Path(home) / "node") as (_, runtime):
        answer_messages(runtime, app, lambda: True)


def _only_simulations(proposal: Proposal) -> list[str]:
    return [] if proposal.simulated else ["Its data are those of a simulation."]
