"""Federations of the real commands as real processes of this machine, which tests may kill.

``python -m fedbench server`` and ``python -m fedbench site`` run in a folder each, as they would on
machines of their own, over TLS with keys that were issued for the test, on a toy backbone and a few
rows. Every process carries a mark in its environment, which its children inherit, so that
:meth:`World.alive` finds whoever outlives a parent that was killed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import fedbench
from fedbench.deployment.at_server import coordinator
from fedbench.deployment.issuing import issue_server, issue_site
from fedbench.deployment.own_data import own_context, own_task
from fedbench.deployment.policy_text import write_policy
from fedbench.deployment.record import Entry, entries
from fedbench.deployment.run_file import read_run_file
from fedbench.deployment.runtime import free_port
from fedbench.engines.in_process import InProcess
from fedbench.exporting import write_adapter
from fedbench.federation import federate
from fedbench.models.attached import attached
from fedbench.models.backbones import digest
from fedbench.models.tensors import trained_tensors
from fedbench.seeding import single_thread
from tests import toys

PATIENT = 240.0  #: seconds that a test waits for one thing; this machine may have much else to do
_MARK = "FEDBENCH_TEST_WORLD"
_ROOT = Path(fedbench.__file__).resolve().parents[1]
#: a policy that allows what is quickest, beside what it must allow
PLAIN = {"secure_aggregation": "allowed"}


@dataclass(frozen=True)
class Running:
    """One process of a federation, and what it says."""

    name: str
    process: subprocess.Popen[bytes]
    out: Path
    begin: int  #: where in the file its own output begins

    def said(self) -> str:
        """All that it said."""
        return self.out.read_bytes()[self.begin :].decode()

    def sentences(self) -> list[str]:
        """The same, line by line, without the times of day."""
        return [line[9:] if line[2:3] == ":" else line for line in self.said().splitlines()]

    def says(self, text: str, seconds: float = PATIENT) -> None:
        """Wait until it has said something."""
        self.until(lambda: text in self.said(), f"say {text!r}", seconds)

    def until(self, done: Callable[[], bool], what: str, seconds: float = PATIENT) -> None:
        """Wait until something is so, which this process is expected to bring about."""
        ends = time.monotonic() + seconds
        while not done():
            code = self.process.poll()
            if code is not None and not done():
                raise AssertionError(
                    f"{self.name} ended ({code}) and did not {what}:\n{self.said()}"
                )
            if time.monotonic() > ends:
                raise AssertionError(f"{self.name} did not {what}:\n{self.said()}")
            time.sleep(0.05)

    def kill(self, how: int = signal.SIGKILL) -> None:
        """End it, at once by default."""
        self.process.send_signal(how)
        self.process.wait(30)

    def ended(self, seconds: float = PATIENT) -> int:
        """Wait until it ends by itself; how it did."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end:\n{self.said()}") from None


@dataclass
class World:
    """A server and sites, each with a folder."""

    folder: Path
    names: tuple[str, ...]
    port: int
    started: list[Running] = field(default_factory=list)

    def server(self, *more: str) -> Running:
        """Start the server."""
        return self._start("server", "server", "--config", "run.yml", *more)

    def site(
        self, name: str, port: int | None = None, host: str = "127.0.0.1", *more: str
    ) -> Running:
        """Start a site, which reaches the server over ``port``."""
        where = f"{host}:{port or self.port}"
        given = ["--data", "own.csv", "--task", "toy.yml", "--server", where]
        return self._start(name, "site", *given, *more)

    def command(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command in the folder of a server or site, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "fedbench", *arguments], cwd=self.folder / name,
            env=self._environment(), capture_output=True, text=True, timeout=PATIENT,
        )  # fmt: skip

    def adapter(self, name: str = "server") -> bytes:
        """The adapter that the server or a site has at the end."""
        pattern = "federation/adapter" if name == "server" else "site/runs/*/adapter"
        (found,) = (self.folder / name).glob(f"{pattern}/*model.safetensors")
        return found.read_bytes()

    def report(self) -> dict[str, Any]:
        """What the server kept beside its adapter."""
        found: dict[str, Any] = json.loads(
            (self.folder / "server/federation/federation.json").read_text()
        )
        return found

    def record(self, name: str) -> list[Entry]:
        """What left a site, if its record is what was written."""
        return entries(self.folder / name / "site/record.jsonl")

    def recorded(self, name: str, kind: str, round_: int) -> bool:
        """Whether such an answer of a site was written down."""
        path = self.folder / name / "site/record.jsonl"
        if not path.exists():
            return False
        lines = [json.loads(one) for one in path.read_text().splitlines(keepends=True)
                 if one.endswith("\n")]  # fmt: skip
        return any(one["kind"] == kind and one["round"] == round_ for one in lines)

    def received(self, name: str) -> int:
        """How many messages Flower's node of a site has brought, over all its lives."""
        log = self.folder / name / "site/flower/node.log"
        return log.read_text(errors="replace").count("Received successfully") if log.exists() else 0

    def alive(self) -> dict[int, str]:
        """Processes of this world, also those whose parents were killed: commands by id."""
        return dict(_marked(str(self.folder)))

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ, _MARK: str(self.folder), "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1",
            "FEDBENCH_HOME": str(self.folder / "home"),
        }  # fmt: skip

    def _start(self, name: str, *arguments: str) -> Running:
        folder = self.folder / name
        out = folder / "out"
        with out.open("ab") as handle:
            process = subprocess.Popen(
                [sys.executable, "-m", "fedbench", *arguments], cwd=folder, stdout=handle,
                stderr=handle, stdin=subprocess.DEVNULL, env=self._environment(),
                start_new_session=True,
            )  # fmt: skip
            running = Running(name, process, out, handle.tell())
        self.started.append(running)
        return running


@contextmanager
def world(
    folder: Path,
    names: tuple[str, ...] = ("hospital-a", "hospital-b"),
    *,
    policy: Mapping[str, Any] = PLAIN,
    rows: int = 60,
    run: Mapping[str, Any] | None = None,
    listens: str = "127.0.0.1",
    **file: Any,
) -> Iterator[World]:
    """A server's and its sites' folders with all that they need; all is ended after the block.

    Nobody may be alive a moment after those are ended that the test started.

    Args:
        folder: for all of it.
        names: of sites.
        policy: of every site, beside the backbone, which it allows.
        rows: of every site.
        run: fields of the run beside those that make it small.
        listens: address of the server; its certificate is for 127.0.0.1 alone.
        file: fields of run.yml beside run, sites and address.
    """
    backbone = toys.make_backbone(folder / "backbone")
    task = toys.make_task(folder / "task")
    here = World(folder, names, free_port())
    server = folder / "server"
    issue_server(server / "keys", ["127.0.0.1"], days=365)
    for number, name in enumerate(names):
        _site(folder / name, name, number, rows)
        shutil.copy(task, folder / name)
        shutil.copy(server / "keys/ca.pem", folder / name / "keys")
        shutil.copy(folder / name / "keys" / f"{name}.pub", server)
        allowed = {**policy, "backbones": {str(backbone): digest(str(backbone))}}
        _add_to_policy(folder / name / "site/policy.yml", allowed)
    shutil.copy(task, server)
    small = {
        "task": "toy.yml", "backbone": str(backbone), "rounds": 2, "passes": 4, "batch_size": 8,
        "rank": 2, "max_tokens": 64, "generated": 2, "seed": 0, "learning_rate": 0.004,
        "partition": {"minimum": 2},
    }  # fmt: skip
    told = {
        "run": {**small, **(run or {})},
        "sites": {name: f"{name}.pub" for name in names},
        "address": f"{listens}:{here.port}",
        **file,
    }
    (server / "run.yml").write_text(yaml.safe_dump(told))
    try:
        yield here
    finally:
        for running in here.started:
            if running.process.poll() is None:
                running.kill()
        left = _after_a_moment(here)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert not left, f"these outlived their parents: {left}"


def _site(folder: Path, name: str, number: int, rows: int) -> None:
    """A site's folder with keys, a policy and rows of its own."""
    issue_site(folder / "keys", name)
    write_policy(folder / "site/policy.yml")
    draw, words = random.Random(number), ("fell", "rose")
    lines = ["text,mood,house"]
    for row in range(rows):
        mood = draw.randrange(2)
        lines.append(f"profit number {1000 * number + row} {words[mood]} today,{mood},{row % 3}")
    (folder / "own.csv").write_text("\n".join(lines) + "\n")


def _add_to_policy(path: Path, more: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **more}))


def _after_a_moment(here: World) -> dict[int, str]:
    ends = time.monotonic() + 15
    while (left := here.alive()) and time.monotonic() < ends:
        time.sleep(0.1)
    return left


def _marked(mark: str) -> Iterator[tuple[int, str]]:
    wanted = f"{_MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                if command:  # one that has ended has none
                    yield int(entry.name), command


def simulated(here: World, folder: Path) -> bytes:
    """The adapter of the same federation in this process, without a network: what it must be.

    Under masks too, because sums of masked updates are exact; not where noise is real.
    """
    file, config = read_run_file(here.folder / "server/run.yml")
    config = coordinator(file, config, plain_text=True).config
    with single_thread(), attached(config) as model:
        initial = trained_tensors(model)
        contexts = {}
        for site, name in file.named.items():
            place = here.folder / name
            _, task = own_task(place / "toy.yml", place / "own.csv")
            contexts[site] = own_context(config, site, task, model, folder / site)
        ended = federate(config, InProcess(contexts), [*file.named], initial, folder / "work")
    write_adapter(folder / "adapter", config, ended.adapter, ended.delta, "")
    (found,) = (folder / "adapter").glob("*model.safetensors")
    return found.read_bytes()
