"""``python -m fedbench server``: the rounds of a federation whose sites are on other machines."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from fedbench.config import RunConfig
from fedbench.deployment import results
from fedbench.deployment.children import log_of
from fedbench.deployment.joining import Joining
from fedbench.deployment.keys import as_registered, public_key, server_certificates, warning
from fedbench.deployment.link import Certificates, Link, link
from fedbench.deployment.proposing import KEPT, Proposal, asked_by
from fedbench.deployment.run_file import RunFile, claim
from fedbench.deployment.signing import check, name_of
from fedbench.deployment.strangers import Strangers
from fedbench.deployment.telling import AtServer, Say
from fedbench.engines.over_flower import Directory, OverFlower, Present
from fedbench.errors import FedbenchError
from fedbench.exporting import write_adapter
from fedbench.federation import Federated, federate
from fedbench.files import on_disk, write_json
from fedbench.freshness import code_of
from fedbench.hashing import sha256_json, short
from fedbench.locks import Busy, locked
from fedbench.models.attached import attached
from fedbench.models.backbones import digest
from fedbench.models.tensors import trained_tensors
from fedbench.privacy.chance import REAL
from fedbench.provenance import provenance
from fedbench.replies import heard
from fedbench.seeding import single_thread
from fedbench.tasks.specfile import read_spec

_LOOK = 0.5  #: seconds between two looks for who has joined
_REMIND = 60.0  #: seconds between two reminders of who has not
_FAREWELL = 600.0  #: seconds in which sites may take the result
REPORT = "federation.json"  #: what came of a federation; written last


@dataclass(frozen=True)
class Coordinator:
    """All that a server brings along."""

    file: RunFile
    config: RunConfig  #: resolved; its task goes by its name
    task: str  #: digest of what is asked
    keys: Mapping[str, EllipticCurvePublicKey]  #: by site
    certificates: Certificates | None  #: None: plain text


def coordinator(file: RunFile, config: RunConfig, *, plain_text: bool) -> Coordinator:
    """A server with its keys.

    Raises:
        FedbenchError: a key or a certificate is missing or cannot be used, or two sites have one.
    """
    spec, _ = read_spec(config.task)
    keys = dict(zip(file.named, map(public_key, file.sites.values()), strict=True))
    if len({name_of(key) for key in keys.values()}) < len(keys):
        raise FedbenchError("Two sites have the same public key: every site needs its own.")
    certificates = None
    if not plain_text:
        found = server_certificates(file.keys)
        certificates = Certificates(found.certificate, found.key, found.authority)
    named = config.model_copy(update={"task": spec.name})
    return Coordinator(file, named, asked_by(spec), keys, certificates)


def serve(server: Coordinator, say: Say) -> Path:
    """Run a federation to its end, going on where an earlier process was stopped.

    Raises:
        Busy: another process serves with the same folder.
        FedbenchError: the federation did not come about, or nothing was learned; and why.
    """
    folder, config = server.file.folder, server.config
    try:
        with locked(folder / "server.lock", wait=False), on_disk(folder), single_thread():
            claim(folder, config)
            if (folder / REPORT).exists():
                raise FedbenchError(f"{folder} holds what came of a federation: name a new folder.")
            with attached(config) as model:
                initial = trained_tensors(model)
            with _connected(server, say) as (connection, joining, engine):
                _gathered(server, joining, engine.directory, say)
                sites = list(server.keys)
                tally = AtServer(say, config, sites, connection.traffic)
                made_by = short(sha256_json([config.id, code_of(config), digest(config.backbone)]))
                work = folder / "work" / made_by
                result = federate(config, engine, sites, initial, work, tally.round, chance=REAL)
                adapter = folder / results.ADAPTER
                if not adapter.exists():
                    told = results.readme(config)
                    write_adapter(adapter, config, result.adapter, result.delta, told)
                took = _farewell(config, engine, [*joining.directory()], result)
                write_json(folder / REPORT, _report(server, joining, result, took, connection))
    except Busy as busy:
        raise Busy(f"A server works in {folder} already. {busy}") from None
    return folder / results.ADAPTER


@contextmanager
def _connected(server: Coordinator, say: Say) -> Iterator[tuple[Link, Joining, OverFlower]]:
    """A SuperLink inside the block, who joins over it, and the engine that reaches them."""
    file, config = server.file, server.config
    if server.certificates is None:
        say(
            "PLAIN TEXT: whoever is on the way reads and alters what is sent. Never with real data."
        )
    elif (soon := warning(server.certificates.certificate)) is not None:
        say(soon)
    proposal = Proposal(
        config,
        server.task,
        digest(config.backbone),
        {name_of(key): site for site, key in server.keys.items()},
        simulated=False,
    )
    registered = [as_registered(key) for key in server.keys.values()]
    (host, port), home = file.listens, file.folder / "flower"
    strangers = Strangers(log_of("link", home), say)
    with link(host, port, server.certificates, registered, home) as connection:
        say(f"Run {config.id} listens on {file.address}.")
        called = file.named
        joining = Joining(connection.grid, connection.nodes, proposal, server.keys, say, called)

        def proven(site: str, payload: bytes, said: bytes) -> None:
            check(server.keys[site], payload, said)

        def directory() -> dict[str, Present]:
            strangers.look()
            return joining.directory()

        yield connection, joining, OverFlower(connection.grid, directory, file.patience, proven)


def _gathered(server: Coordinator, joining: Joining, directory: Directory, say: Say) -> None:
    """Wait until as many sites have joined as the federation begins with.

    Raises:
        FedbenchError: so many refuse that there will never be enough.
    """
    called = server.file.named
    needed = server.file.begin_with or len(called)
    reminded = -_REMIND
    while len(there := directory()) < needed:
        if len(called) - len(joining.refusals) < needed:
            whys = [f"{called[site]}: {why}" for site, why in joining.refusals.items()]
            raise FedbenchError(
                f"The federation needs {needed} sites, and too many do not take part. "
                f"{' '.join(whys)}"
            )
        if time.monotonic() - reminded > _REMIND:
            reminded = time.monotonic()
            missing = ", ".join(called[site] for site in called if site not in there)
            say(f"{len(there)} of {needed} sites are there; waiting for {missing}.")
        time.sleep(_LOOK)


def _farewell(
    config: RunConfig, engine: OverFlower, sites: list[str], result: Federated
) -> list[str]:
    """Tell sites what was learned; those that say that they have it."""
    told = results.told(config, sites, result)
    return [*heard(engine.exchange(told, _FAREWELL), told, KEPT).replies]


def _report(
    server: Coordinator, joining: Joining, result: Federated, took: list[str], connection: Link
) -> dict[str, Any]:
    """What is kept of a federation beside its adapter."""
    sent, received = connection.traffic()
    sites = {
        name: {
            "site": site,
            "key": name_of(server.keys[site]),
            "refused": joining.refusals.get(site),
            "has_the_adapter": site in took,
        }
        for site, name in server.file.named.items()
    }
    return {
        "run": server.config.id,
        "config": server.config.model_dump(mode="json"),
        "sites": sites,
        "rounds": result.log,
        "flower": {"bytes_sent": sent, "bytes_received": received},
        "encrypted": server.certificates is not None,
        "provenance": provenance(code_of(server.config))
        | {"backbone": digest(server.config.backbone)},
    }
