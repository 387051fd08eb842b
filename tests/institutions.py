"""A real site in one process: all that answers a server, but for Flower between both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key

from fedbench.config import RunConfig, parse_config
from fedbench.deployment import at_site, record
from fedbench.deployment.consenting import House, house
from fedbench.deployment.guarding import RECORD
from fedbench.deployment.policy import SitePolicy
from fedbench.deployment.proposing import Proposal, asked_by
from fedbench.deployment.signing import name_of
from fedbench.engines import Failure
from fedbench.models.attached import attached
from fedbench.models.backbones import digest
from fedbench.models.tensors import Tensors, trained_tensors
from fedbench.resolving import resolve
from fedbench.tasks.specfile import read_spec
from fedbench.wire import opened
from tests.payloads import TRAIN, written

KEY = generate_private_key(SECP384R1())
OWN = name_of(KEY.public_key())
OTHERS = tuple(digit * 64 for digit in "ab")
PRIVATE = {"unit": "example", "clip": 1.0, "noise": 1.0, "examples": 40}


@dataclass
class Institution:
    """A site, as its server meets it, and what it did that no server sees."""

    house: House
    ending: Any
    answer: Callable[[bytes], bytes | Failure]
    said: list[str] = field(default_factory=list)

    def told(self, payload: bytes) -> tuple[dict[str, Any], str]:
        """The header of an answer, and the reasons that it gives for refusing."""
        found = self.answer(payload)
        if isinstance(found, Failure):
            return {}, found.reason
        header = opened(found)[0]
        return header, " ".join(header.get("reasons", []))

    @property
    def record(self) -> list[record.Entry]:
        return record.entries(self.house.folder / RECORD)


def site_house(folder: Path, task: Path, **policy: Any) -> House:
    """A site with the toy rows, and the toy's policy."""
    return house(task, task.parent / "toy.csv", SitePolicy(**policy), KEY, folder)


@contextmanager
def open_site(house: House) -> Iterator[Institution]:
    """A site that answers inside the block, as from a start of its process to its end."""
    said: list[str] = []
    with ExitStack() as models:
        ending = at_site._Ending()
        yield Institution(house, ending, at_site._answers(house, models, ending, said.append), said)


@dataclass(frozen=True)
class World:
    """What both ends have: a toy task and a toy backbone, and a server of ill will."""

    task: Path
    backbone: Path

    def config(self, **values: Any) -> RunConfig:
        """A run as an honest server would propose it, but for ``values``."""
        usual = {
            "task": str(self.task),
            "backbone": str(self.backbone),
            "partition": {"kind": "iid", "sites": 3, "minimum": 2},
            "batch_size": 8,
            "rank": 2,
            "max_tokens": 64,
            "rounds": 2,
            "passes": 2,
        }
        found = resolve(parse_config({**usual, **values}))
        return found.model_copy(update={"task": read_spec(str(self.task))[0].name})

    def proposal(self, config: RunConfig, **values: Any) -> Proposal:
        """The proposal of a run, but for ``values``."""
        sites = {OWN: "site-00", **{key: f"site-{n:02d}" for n, key in enumerate(OTHERS, 1)}}
        usual: dict[str, Any] = {
            "task": asked_by(read_spec(str(self.task))[0]),
            "backbone": digest(config.backbone),
            "sites": sites,
            "simulated": False,
        }
        return Proposal(config, **{**usual, **values})

    def adapter(self, config: RunConfig) -> Tensors:
        """The adapter that a run begins with."""
        with attached(config) as model:
            return trained_tensors(model)


def to_train(config: RunConfig, adapter: Mapping[str, Any], **header: Any) -> bytes:
    """A message to train, as a server of a run writes it, but for ``header``."""
    tensors = {f"adapter/{name}": tensor for name, tensor in adapter.items()}
    return written({**TRAIN, "run": config.id, **header}, tensors)
