"""``python -m fedbench server``: the rounds of a federation whose sites are on other machines."""

from __future__ import annotations

import math
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
from fedbench.deployment.proposing import KEPT, OFF, Proposal, asked_by
from fedbench.deployment.run_file import RunFile, claim
from fedbench.deployment.signing import check, name_of
from fedbench.deployment.strangers import Strangers
from fedbench.deployment.telling import AtServer, Say
from fedbench.engines.over_flower import OverFlower, Present
from fedbench.errors import FedbenchError
from fedbench.exporting import write_adapter
from fedbench.federation import Federated, federate
from fedbench.files import on_disk, read_json, write_json
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
from fedbench.wire import framed

_LOOK = 0.5  #: seconds between two looks for who has joined
_REMIND = 60.0  #: seconds between two reminders of who has not
_CALL = 60.0  #: seconds in which sites may take it that there is no federation
_FAREWELL = 600.0  #: seconds in which sites may take the result
_TOOK = "took.json"  #: sites that said that they have what was learned
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
            made_by = short(sha256_json([code_of(config), digest(config.backbone)]))
            claim(folder, config, {s: name_of(key) for s, key in server.keys.items()}, made_by)
            if _is_over(folder):
                raise FedbenchError(f"{folder} holds what came of a federation: name a new folder.")
            with attached(config) as model:
                initial = trained_tensors(model)
            with _connected(server, say) as (connection, joining, engine):
                adapter, sites = folder / results.ADAPTER, list(server.keys)
                if not adapter.exists():
                    _gathered(server, joining, engine, say)
                tally = AtServer(say, config, sites, connection.traffic)
                work = folder / "work"
                result = federate(config, engine, sites, initial, work, tally.round, chance=REAL)
                if not adapter.exists():
                    told = results.readme(config)
                    write_adapter(adapter, config, result.adapter, result.delta, told)
                _farewell(server, engine, result, say)
                write_json(folder / REPORT, _report(server, joining, result, connection))
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

        yield (
            connection,
            joining,
            OverFlower(
                connection.grid, directory, file.patience, proven, longest=file.longest_exchange
            ),
        )


def _gathered(server: Coordinator, joining: Joining, engine: OverFlower, say: Say) -> None:
    """Wait until as many sites have joined as the federation begins with; not for others.

    Raises:
        FedbenchError: so many refuse that there will never be enough.
    """
    called = server.file.named
    needed = server.file.begin_with or len(called)
    reminded = -_REMIND
    while len(there := engine.directory()) < needed:
        if len(called) - len(joining.refusals) < needed:
            _call_off(server.config, engine, [*there])
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
    engine.away.update(dict.fromkeys(called.keys() - there.keys(), -math.inf))


def _call_off(config: RunConfig, engine: OverFlower, sites: list[str]) -> None:
    """Tell sites that are there, and would wait, that the run will not come about."""
    header = {"kind": OFF, "run": config.id, "round": 0}
    for _ in engine.exchange(dict.fromkeys(sites, framed(header, b"")), _CALL):
        pass


def _farewell(server: Coordinator, engine: OverFlower, result: Federated, say: Say) -> None:
    """Tell all sites that took part what was learned, and write down who has it.

    Who is away is waited for as in a round, and told when the server is started again.
    """
    path, called = server.file.folder / _TOOK, server.file.named
    took: list[str] = read_json(path) if path.exists() else []
    rest = [site for site in _took_part(result) if site not in took]
    told = results.told(server.config, rest, result)
    for answer in engine.exchange(told, _FAREWELL):
        took += heard(iter([answer]), told, KEPT).replies
        write_json(path, took)
    if missing := ", ".join(called[site] for site in rest if site not in took):
        say(
            f"{missing} did not say that they have the adapter: start the server again when they "
            "are there, or hand it over."
        )


def _took_part(result: Federated) -> list[str]:
    return sorted({site for record in result.log for site in record["cohort"]})


def _is_over(folder: Path) -> bool:
    """Whether a federation is done, and every site that took part has what was learned."""
    path = folder / REPORT
    sites = read_json(path)["sites"].values() if path.exists() else None
    return sites is not None and all(s["has_the_adapter"] or not s["took_part"] for s in sites)


def _report(
    server: Coordinator, joining: Joining, result: Federated, connection: Link
) -> dict[str, Any]:
    """What is kept of a federation beside its adapter."""
    sent, received = connection.traffic()
    path, took_part = server.file.folder / _TOOK, _took_part(result)
    took = read_json(path) if path.exists() else []
    sites = {
        name: {
            "site": site,
            "key": name_of(server.keys[site]),
            "refused": joining.refusals.get(site),
            "took_part": site in took_part,
            "has_the_adapter": site in took,
        }
        for site, name in server.file.named.items()
    }
    return {
        "run": server.config.id,
        "config": server.config.model_dump(mode="json"),
        "sites": sites,
        "rounds": result.log,
        "flower_since_its_last_start": {"bytes_sent": sent, "bytes_received": received},
        "encrypted": server.certificates is not None,
        "provenance": provenance(code_of(server.config))
        | {"backbone": digest(server.config.backbone)},
    }
