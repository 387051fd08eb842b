"""One federation over Flower, watched from both ends, in a process of its own.

``python -m fedbench.bench.far run PLAN FOUND`` reads what to do from a JSON file and writes what it
found to another. It is a rehearsal: what happens between machines but for data and distance. Where
the plan says so, each site is put on another machine of a world of namespaces.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from subprocess import Popen
from typing import Any, cast
from unittest.mock import patch

from flwr.superlink.grid import HttpGrid
from torch import nn

from fedbench.bench.watching import (
    Exchange,
    Watched,
    WatchedGrid,
    answer_watched,
    beside,
    last_of,
    merged,
    module,
    parts_of,
    peaks,
)
from fedbench.config import RunConfig
from fedbench.deployment import link as of_link
from fedbench.deployment import rehearsal
from fedbench.deployment.arriving import PromptGrid
from fedbench.deployment.children import child
from fedbench.deployment.link import Link
from fedbench.engines.in_process import InProcess
from fedbench.federation import Federated, federate
from fedbench.files import read_json, write_json
from fedbench.models.attached import attached
from fedbench.models.tensors import trained_tensors
from fedbench.prepare import Prepared, prepare, site_contexts
from fedbench.resolving import resolve
from fedbench.seeding import single_thread
from fedbench.wire import schema_of

_AWAY = 600.0  #: seconds that sites have to begin, on a machine that may be busy
_MOMENTS = "moments"  #: folder of what sites saw


def found(
    options: dict[str, Any], host: str, machines: Sequence[str], own_grid: bool
) -> dict[str, Any]:
    """What a federation took over Flower and, without machines, in process.

    Args:
        options: of its configuration.
        host: where its server listens.
        machines: namespaces of its sites, in their order; empty: all on this machine.
        own_grid: ours; Flower's waits for parts of replies.
    """
    config = resolve(RunConfig.model_validate(options))
    prepared = prepare(config)
    with single_thread(), attached(config) as model, tempfile.TemporaryDirectory() as folder:
        initial = trained_tensors(model)
        far = _Far(config, prepared, model, Path(folder), host, machines)
        with nullcontext() if own_grid else patch.object(of_link, "PromptGrid", HttpGrid):
            over, told = far.run()
        told["schema"] = schema_of(initial)
        told["site_count"] = len(prepared.partition.trained)
        if not machines:
            near, told["in_process"] = _in_process(far)
            told["same"] = near.log == over.log and all(
                bool((tensor == over.adapter[name]).all()) for name, tensor in near.adapter.items()
            )
    return told


def _in_process(far: _Far) -> tuple[Federated, list[float]]:
    """The same in process, and seconds of every round but the first."""
    folder, times = far.folder / "near", [time.monotonic()]
    engine = InProcess(site_contexts(far.prepared, far.model, folder))
    done = federate(
        far.config, engine, far.prepared.partition.trained, trained_tensors(far.model),
        folder / "federation", lambda share: times.append(time.monotonic()),
    )  # fmt: skip
    return done, [after - before for before, after in pairwise(times[1:])]


@dataclass(frozen=True)
class _Far:
    """A federation to be run over Flower."""

    config: RunConfig
    prepared: Prepared
    model: nn.Module
    folder: Path
    host: str
    machines: Sequence[str]
    links: list[Link] = field(default_factory=list)
    grids: list[WatchedGrid] = field(default_factory=list)

    def run(self) -> tuple[Federated, dict[str, Any]]:
        """What it ended with, and what was seen of all rounds but the first."""
        sites, marks = self.prepared.partition.trained, [self._mark(0, 0)]
        with self._elsewhere(), ExitStack() as stack:
            engine = stack.enter_context(
                rehearsal.rehearsed(self.prepared, self.model, self.folder)
            )
            watched = Watched(engine)

            def ended(record: Mapping[str, Any]) -> None:
                marks.append(self._mark(*self.links[0].traffic()))

            done = federate(
                self.config, watched, sites, trained_tensors(self.model),
                self.folder / "federation", ended,
            )  # fmt: skip
            memory = peaks()
        moments = merged(self.grids[0].seen, sorted(self.folder.glob(f"{_MOMENTS}/*")))
        rounds = [*pairwise(marks[1:])]
        later = [one for one in watched.exchanges if one.began >= marks[1]["time"]]
        sums = {name: marks[-1][name] - marks[1][name] for name in ("sent", "received", "tx", "rx")}
        counted = [one for one in moments.values() if one["pushed"] >= marks[1]["time"]]
        return done, {
            "rounds": [after["time"] - before["time"] for before, after in rounds],
            "exchanges": [_exchange(one, moments) for one in later],
            "bytes": sums
            | {
                "messages": len(counted),
                "payloads_down": sum(one["bytes_down"] for one in counted),
                "payloads_up": sum(one["bytes_up"] for one in counted),
            },
            "memory": memory,
        }

    @contextmanager
    def _elsewhere(self) -> Iterator[None]:
        """A rehearsal whose sites are watched, and where the plan says."""
        sites = dict(zip(self.prepared.partition.trained, self.machines, strict=False))

        def start(
            kind: str, options: Sequence[str], home: Path
        ) -> AbstractContextManager[Popen[bytes]]:
            if kind != "site":
                return child(kind, options, home)
            site = options[2]
            on = ["ip", "netns", "exec", sites[site]] if site in sites else []
            seen = self.folder / _MOMENTS / site
            seen.parent.mkdir(exist_ok=True)
            return beside([*on, *module("far", "site", seen, *options)], home, kind)

        with (
            patch.object(rehearsal, "child", start),
            patch.object(rehearsal, "link", self._linked),
            patch.object(rehearsal, "_HERE", self.host),
            patch.object(rehearsal, "_AWAY", _AWAY),
        ):
            yield

    @contextmanager
    def _linked(self, *options: Any) -> Iterator[Link]:
        from fedbench.deployment.link import link

        with link(*options) as held:
            self.links.append(held)
            self.grids.append(WatchedGrid(held.grid))
            yield replace(held, grid=cast(PromptGrid, self.grids[0]))

    def _mark(self, sent: int, received: int) -> dict[str, float]:
        rx, tx = _interface("eth0")
        return {"time": time.monotonic(), "sent": sent, "received": received, "rx": rx, "tx": tx}


def _exchange(one: Exchange, moments: dict[str, dict[str, float]]) -> dict[str, float]:
    last = last_of(one, moments)
    sizes = {name: last[name] for name in ("bytes_down", "bytes_up")}
    return parts_of(one, moments) | sizes


def _interface(name: str) -> tuple[int, int]:
    """Bytes that came and went by an interface of this machine so far; none if it has none."""
    for line in Path("/proc/net/dev").read_text(encoding="utf-8").splitlines():
        at, _, numbers = line.partition(":")
        if at.strip() == name:
            return int(numbers.split()[0]), int(numbers.split()[8])
    return 0, 0


def be_site(moments: str, *options: str) -> None:
    """Be a site of a rehearsal that is watched."""
    with patch.object(rehearsal, "answer_messages", answer_watched(Path(moments))):
        rehearsal.be_site(*options)


def main(arguments: Sequence[str]) -> None:
    """Run a federation, or be a site of one."""
    kind, *options = arguments
    if kind == "site":
        from flwr.supercore.app_utils import start_parent_process_monitor

        start_parent_process_monitor(os.getppid())
        try:
            be_site(*options)
        finally:
            sys.stderr.flush()
            os._exit(1)
    plan, result = map(Path, options)
    write_json(result, found(**read_json(plan)))


if __name__ == "__main__":
    main(sys.argv[1:])
