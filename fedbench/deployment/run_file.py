"""``run.yml``: what a server is told of a federation, which run and whose keys."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from fedbench.config import RunConfig, parse_config
from fedbench.deployment.addresses import NO_ADDRESS, is_address
from fedbench.deployment.lifetime import usual_turn
from fedbench.deployment.policy import not_real
from fedbench.errors import FedbenchError
from fedbench.files import read_json, read_yaml, write_json
from fedbench.frozen import Frozen, refusing
from fedbench.problems import examined, listed
from fedbench.resolving import resolve

_RUN = "run.json"  #: in a server's folder: whose it is


class RunFile(Frozen):
    """A federation between machines."""

    #: fields of a configuration, as ``fedbench run`` takes them; without a seed, one is drawn, so
    #: that no two federations are the same run, whose messages sites would take for replays
    run: Mapping[str, Any]
    #: public key of every site that may take part, by a name for people
    sites: Mapping[str, Path]
    #: where the server listens; on every address of the machine by default
    address: str = "0.0.0.0:9092"
    keys: Path = Path("keys")  #: folder of ca.pem, server.pem and server.key
    folder: Path = Path("federation")  #: checkpoints, and what comes of it: a new one for each run
    #: sites that must have joined before the first round begins; all by default
    begin_with: int | None = Field(default=None, ge=1, le=10_000)
    #: seconds that a site may be away before rounds go on without it, until it is back
    patience: float = Field(default=600.0, ge=0, le=1e7)
    #: seconds after which a site that is there and does not answer has failed, where the run's own
    #: ``policy.deadline`` says nothing
    longest_exchange: float = Field(default=7200.0, gt=0, le=1e7)

    @field_validator("address")
    @classmethod
    def _host_and_port(cls, address: str) -> str:
        if not is_address(address):
            raise ValueError(NO_ADDRESS)
        return address

    @model_validator(mode="after")
    def _nothing_contradicts(self) -> Self:
        return refusing(self, self._contradictions())

    def _contradictions(self) -> Iterator[str]:
        if not self.sites:
            yield "sites is empty: name the public key of every site that may take part"
        if self.begin_with is not None and self.begin_with > len(self.sites):
            yield f"begin_with = {self.begin_with} is more than the {len(self.sites)} sites"

    @property
    def listens(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def named(self) -> dict[str, str]:
        """Sites as payloads name them, and as people do."""
        return {f"site-{number:02d}": name for number, name in enumerate(self.sites)}


def read_run_file(path: Path) -> tuple[RunFile, RunConfig]:
    """A run file, whose own paths are beside it, and the resolved configuration of its run.

    Raises:
        FedbenchError: all that is wrong with it.
    """
    values = read_yaml(path)
    if told := examined(values, RunFile)[1]:
        raise FedbenchError(f"{path} cannot be used: {listed(told)}.")
    found = RunFile.model_validate(values)
    beside = path.resolve().parent
    task = str(found.run.get("task", ""))
    if task.endswith((".yml", ".yaml")):
        task = str(beside / task)
    here = {
        "run": {**found.run, "task": task},
        "sites": {name: beside / key for name, key in found.sites.items()},
        "keys": beside / found.keys,
        "folder": beside / found.folder,
    }
    found = found.model_copy(update=here)
    return found, _resolved(path, found)


def claimed(folder: Path) -> Mapping[str, Any]:
    """Which run a folder is of, and its seed; nothing if it is of none.

    Raises:
        Damaged: the file that says so is.
    """
    path = folder / _RUN
    return dict(read_json(path)) if path.exists() else {}


def claim(folder: Path, config: RunConfig, keys: Mapping[str, str], made_by: str) -> None:
    """Make sure that a folder is of this run, between these sites, made by this code.

    Args:
        folder: of the server.
        config: of the run.
        keys: names of the public keys, by site.
        made_by: digest of the code and the backbone.

    Raises:
        FedbenchError: something of it is another; sites would refuse what comes of that.
    """
    mine = {"run": config.id, "seed": config.seed, "sites": dict(keys), "made_by": made_by}
    before = claimed(folder)
    if not before:
        write_json(folder / _RUN, mine)
    elif moved := [told for name, told in _MOVED.items() if before.get(name) != mine[name]]:
        raise FedbenchError(
            f"{folder} was begun with {' and with '.join(moved)}: take the change back, or name a "
            "new folder."
        )


#: what a folder is bound to, and what to say where it is another now
_MOVED = {
    "run": "another configuration",
    "sites": "other keys of sites, or in another order",
    "made_by": "another version of fedbench or of the backbone",
}


def _resolved(path: Path, found: RunFile) -> RunConfig:
    """The run's configuration, with as many sites as there are keys.

    Raises:
        FedbenchError: it is wrong, or belongs to a simulation.
    """
    partition = {**(found.run.get("partition") or {}), "sites": len(found.sites)}
    try:
        drawn = claimed(found.folder).get("seed", secrets.randbelow(2**63))
        config = resolve(parse_config({"seed": drawn, **found.run, "partition": partition}))
    except FedbenchError as error:
        raise FedbenchError(f"In {path}, under run: {error}") from None
    if told := [*not_real(config)]:
        raise FedbenchError(f"In {path}, under run: {' '.join(told)}")
    return _with_noise(config)


def _with_noise(config: RunConfig) -> RunConfig:
    """The same with the noise that keeps examples within epsilon: no site looks for it itself.

    Raises:
        FedbenchError: no noise is enough.
    """
    privacy = config.private("example")
    if privacy is None or privacy.noise is not None:
        return config
    noise = usual_turn(config, config.partition.sites).noise
    return config.model_copy(update={"privacy": privacy.model_copy(update={"noise": noise})})
