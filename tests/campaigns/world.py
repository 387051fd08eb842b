"""A small world of stored files, of every kind that fedbench writes, to be harmed and restored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedbench import prepare, running, store
from fedbench.config import RunConfig
from fedbench.models import attached, backbones
from fedbench.tasks import load
from tests import toys

#: what a process remembers of files that it has read
_MEMORIES = (
    *(backbones._located, backbones.digest, attached._backbone, attached.tokenizer_of),
    *(load._asked, load._load, prepare._tokenised),
    *(store._recorded_runs, store._all_recorded_items, store._all_counted),
)
SGD = {"optimizer": "sgd", "schedule": "constant", "warmup": 0}
SITES = {"kind": "iid", "sites": 3, "minimum": 2}
#: runs that are finished, by name
FINISHED: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "base": {"setting": "base"},
    "local": {"setting": "local"},
    "flora": {"rule": "flora"},
    "personal": {"own_passes": 1},
}
#: runs that were stopped after some rounds, or, with ``at``, later; every kind of file that is kept
STOPPED: dict[str, dict[str, Any]] = {
    "plain": {},
    "scaffold": {"rule": "scaffold", **SGD},
    "owing": {"codec": "ef+int8", "codec_down": "delta+int8"},
    "masked": {
        "privacy": {"unit": "site", "clip": 0.5, "noise": 1.0, "accountant": "rdp"},
        "secure": {"bound": 1.0},
        "partition": SITES,
    },
    "private": {
        "privacy": {
            "unit": "example", "clip": 0.5, "noise": 1.0, "accountant": "rdp", "examples": 20,
        },
    },
    "replaying": {"attack": "replay", "hostile": 0.4, "partition": SITES},
    "personal": {"own_passes": 1, "seed": 1},
}  # fmt: skip


class Killed(BaseException):
    """What stands for the end of a process."""


@dataclass(frozen=True)
class World:
    """Where it is, and where a copy of it is kept."""

    folder: Path
    copy: Path
    common: dict[str, Any]

    def config(self, **values: Any) -> RunConfig:
        """A run on the toy backbone and task of this world."""
        given = {**self.common, "rounds": 3, "passes": 3, "generated": 0}
        return RunConfig.model_validate({**given, **values})

    def keep(self) -> None:
        """Take what there is now as what is to be restored."""
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.folder, self.copy)

    def restore(self) -> None:
        """Make every file what it was, and forget what was read."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.copy, self.folder)
        forget()


def forget() -> None:
    """Let this process be as one that has read no file yet."""
    for memory in _MEMORIES:
        memory.cache_clear()


def made(folder: Path) -> World:
    """A world with nothing but a toy backbone and a toy task."""
    return World(folder, folder.with_name("copy"), toys.options(folder / "given"))


def stop(config: RunConfig, name: str) -> None:
    """Begin a run and end as a process that is killed: after two rounds, or before it is scored."""
    with killed_before_scores() if name in ("plain", "personal") else _nothing():
        try:
            running.run(config, _after(0.5) if name not in ("plain", "personal") else _never)
        except Killed:
            return
    raise AssertionError("it was not killed")


@contextmanager
def killed_before_scores() -> Iterator[None]:
    """Let runs end once all is trained, and before anything is scored."""
    before = running.score_adapters

    def kill(*given: Any) -> Any:
        raise Killed

    running.score_adapters = kill
    try:
        yield
    finally:
        running.score_adapters = before


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _never(share: float) -> None:
    pass


def _after(most: float) -> Callable[[float], None]:
    def report(share: float) -> None:
        if share > most:
            raise Killed

    return report


def result(run: store.Run) -> dict[str, Any]:
    """What is a function of a run's configuration alone: numbers, adapters and deltas."""
    left_out = {"epsilon"}
    if run.config.private("example"):  # sites then say their epsilon, in as many digits as it has
        left_out |= {"bytes_up"}
    return {
        "metrics": json.dumps(_without(run.metrics, left_out)),  # as text, because nan is not nan
        "rounds": json.dumps([_without(one, left_out) for one in run.rounds]),
        # Of a run that started over, earlier rounds tell all that had been spent by then.
        "epsilon": json.dumps([one["epsilon"] for one in run.rounds if "epsilon" in one][-1:]),
        "sites": json.dumps(list(run.sites)),
        "items": run.items.to_json(),
        "counted": json.dumps({name: each.tolist() for name, each in run.counted.numbers.items()}),
        "adapters": {name: path.read_bytes() for name, path in run.adapters.items()},
        "deltas": {name: path.read_bytes() for name, path in run.deltas.items()},
    }


def _without(told: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in names}
