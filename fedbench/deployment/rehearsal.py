"""A run of a simulation over Flower, all of it on this machine: a SuperLink, and a node per site.

It is what happens between machines, certificates and signatures included, but for the data: each
site is given its share by the configuration's partition, and noise comes from its seeds. So it ends
with the same bits as in process. A site that holds real data takes no part in such a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from torch import nn

from fedbench.config import RunConfig
from fedbench.deployment.children import child
from fedbench.deployment.door import Door
from fedbench.deployment.issuing import issue_server, issue_site
from fedbench.deployment.joining import Joining
from fedbench.deployment.keys import as_registered, public_key, server_certificates, site_key
from fedbench.deployment.link import Certificates, link
from fedbench.deployment.node import Entrance, answer_messages, node
from fedbench.deployment.proposing import Proposal, asked_by
from fedbench.deployment.runtime import free_port
from fedbench.deployment.signing import check, name_of, signature
from fedbench.engines import Engine
from fedbench.engines.over_flower import OverFlower, answering_app
from fedbench.models.attached import attached
from fedbench.models.backbones import digest
from fedbench.prepare import Prepared, prepare, site_contexts
from fedbench.seeding import single_thread
from fedbench.site import SiteContext
from fedbench.tasks.specfile import read_spec

_HERE = "127.0.0.1"
_AWAY = 60.0  #: seconds that a site may take to begin


@contextmanager
def rehearsed(prepared: Prepared, model: nn.Module, folder: Path) -> Iterator[Engine]:
    """The sites of a run as processes of this machine, behind Flower.

    Args:
        prepared: of the run.
        model: not used here; every site has its own.
        folder: what sites keep, and Flower's files.
    """
    sites, keys = prepared.partition.trained, folder / "keys"
    certificates, port = _keys(sites, keys), free_port()
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
        held = stack.enter_context(link(_HERE, port, certificates, registered, folder / "flower"))
        for site in sites:
            options = [f"{_HERE}:{port}", str(keys), site, str(folder)]
            home = folder / "flower" / site
            home.mkdir(parents=True, exist_ok=True)
            stack.enter_context(child("site", options, home))
        joining = Joining(held.grid, held.nodes, proposal, publics)
        proven = lambda site, payload, said: check(publics[site], payload, said)  # noqa: E731
        yield OverFlower(held.grid, joining.directory, _AWAY, proven)


def _keys(sites: tuple[str, ...], folder: Path) -> Certificates:
    """Keys of a server and of sites; a run that goes on has them already."""
    if not folder.exists():
        issue_server(folder, [_HERE], days=30)
        for site in sites:
            issue_site(folder, site)
    found = server_certificates(folder, _HERE)
    return Certificates(found.certificate, found.key, found.authority)


def be_site(server: str, keys: str, site: str, folder: str) -> None:
    """Be one site of a rehearsal, in a process of its own, until its parent ends."""
    key = site_key(Path(keys) / f"{site}.key")
    models = ExitStack()

    def enter(config: RunConfig, site: str) -> SiteContext:
        return site_contexts(prepare(config), models.enter_context(attached(config)), Path(folder))[
            site
        ]

    door = Door(
        name_of(key.public_key()),
        Path(folder) / "doors" / site,
        _only_simulations,
        enter,
        lambda context, payload, answer: answer(payload),
    )
    app = answering_app(door.answer, partial(signature, key))
    entrance = Entrance(server, Path(keys) / "ca.pem", Path(keys) / f"{site}.key")
    with single_thread(), node(entrance, Path(folder) / "flower" / site) as (_, runtime):
        answer_messages(runtime, app, lambda: True)


def _only_simulations(proposal: Proposal) -> list[str]:
    return [] if proposal.simulated else ["Its data are those of a simulation."]
