"""FEDERATION.md is done literally: its commands, in its order, on three machines with a wheel each.

The test does what the page asks people to do besides: it carries files from one to another. It also
kills a site and the server in the middle, and starts them again with the same command.
"""

from __future__ import annotations

import os
import shlex
import shutil
import site
import subprocess
import sys
import venv
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest

from fedbench.paths import CHECKOUT
from tests.machines import run_in_world, why_not
from tests.tutorial import EVERYWHERE, Block, blocks, structure

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SERVER, SITES = "fl.example.org", ("hospital-a", "hospital-b")
MACHINES = dict(zip((SERVER, *SITES), ("10.0.0.1", "10.0.0.2", "10.0.0.3"), strict=True))
_STARTS = ("python -m fedbench server ", "python -m fedbench site ")
PAGE = blocks(CHECKOUT / "FEDERATION.md")
_IN_WORLD = """
told() { until grep -q "$2" "$1" 2>/dev/null; do sleep 0.2; done; }
ended() { for name in "$@"; do told "$name.rc" .; done; }
"""


class Done(NamedTuple):
    """A block that was typed on a machine, and what it printed."""

    block: Block
    machine: str
    printed: str


def _installed(folder: Path) -> Path:
    """A fresh environment with a wheel of this checkout; what it depends on is that of this one."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder)]
    subprocess.run([*pip, *build, str(CHECKOUT)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    (asked,) = [block.text for block in PAGE if "pip install" in block.text]
    assert f'pip install "{wheel.name}[flower]"' in asked
    own = folder / "venv"
    venv.create(own, symlinks=True)
    (packages,) = own.glob("lib/*/site-packages")
    shutil.unpack_archive(wheel, packages, "zip")
    # A path in such a file has its own such files left alone: no checkout is found through them.
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()))
    return own / "bin"


def _of(machine: str) -> tuple[str, ...]:
    """Where what is typed on a machine of the page is typed: B types what A does."""
    return (*MACHINES,) if machine == EVERYWHERE else SITES if machine in SITES else (machine,)


def _as(machine: str, text: str) -> str:
    return text if machine == SERVER else text.replace(SITES[0], machine)


class Script:
    """What is done in the world, line by line, and where it is written what was printed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lines, self.typed = folder, [_IN_WORLD], []
        self.numbers = count()

    def type(self, block: Block, machine: str) -> str:
        """Type a block on a machine; what it prints goes to a file, of which the name is returned."""
        out = str(self.folder / f"{next(self.numbers):02d}-{machine}")
        self.typed.append((block, machine, Path(out)))
        text, starts = _as(machine, block.text), block.text.startswith(_STARTS)
        text = f"echo $$ > {out}.pid; exec {text}" if starts else text
        place = shlex.quote(str(self.folder / machine))
        line = f"( cd {place}; on {machine} bash -euc {shlex.quote(text)} ) > {out} 2>&1"
        self.lines.append(
            f"( rc=0; {line} || rc=$?; echo $rc > {out}.rc ) &" if starts else line
        )
        return out

    def done(self) -> list[Done]:
        """What was printed."""
        return [Done(block, name, out.read_text()) for block, name, out in self.typed]


def _hand_over(folder: Path) -> list[str]:
    """What people carry: as the page says."""
    lines = [f"mkdir {folder / SERVER / 'sites'}"]
    for name in SITES:
        lines.append(f"cp {folder / SERVER / 'keys/ca.pem'} {folder / name / 'keys'}")
        lines.append(f"cp {folder / name / 'keys' / f'{name}.pub'} {folder / SERVER / 'sites'}")
    return lines


def _whole(folder: Path) -> Script:
    """The page from its beginning to its end, with two crashes."""
    script = Script(folder)
    began: dict[str, tuple[Block, str]] = {}
    for block in PAGE:
        if block.file:
            for machine in _of(block.machine):
                (folder / machine / block.file).write_text(block.text)
            continue
        if block.machine == EVERYWHERE:
            continue  # the installation
        if "keys show keys/ca.pem" in block.text:
            script.lines += _hand_over(folder)
        for machine in _of(block.machine):
            out = script.type(block, machine)
            if block.text.startswith(_STARTS):
                began[machine] = block, out
        if len(began) == len(MACHINES):
            _crash_and_end(script, began)
            began = {}
    return script


def _crash_and_end(script: Script, began: dict[str, tuple[Block, str]]) -> None:
    """Kill the server and a site after a round, and start both again with what was typed before."""
    killed = {machine: began[machine] for machine in (SERVER, SITES[1])}
    script.lines.append(f"told {began[SERVER][1]} 'Round 1 of'")
    script.lines += [f"kill -9 $(cat {out}.pid)" for _, out in killed.values()]
    script.lines.append(f"ended {' '.join(out for _, out in killed.values())}")
    again = [script.type(block, machine) for machine, (block, _) in killed.items()]
    script.lines.append(f"ended {began[SITES[0]][1]} {' '.join(again)}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("federation")


@pytest.fixture(scope="module")
def done(folder):
    """All that was typed, and what it printed."""
    if reason := why_not():
        pytest.skip(reason)
    pytest.importorskip("flwr", reason="Flower is not installed: make env EXTRAS=dev,flower")
    for name in MACHINES:
        (folder / name).mkdir()
    own = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "FEDBENCH_HOME")}
    env = own | {"PATH": f"{_installed(folder)}:{own['PATH']}"}
    script = _whole(folder)
    ran = run_in_world("\n".join(script.lines), machines=MACHINES, timeout=500, env=env)
    told = script.done() if ran.returncode == 0 else [(o, o.exists() and o.read_text()) for *_, o in script.typed]
    assert ran.returncode == 0, (ran.stderr[-2000:], told)
    return told


def _printed(done: list[Done], part: str) -> list[Done]:
    found = [one for one in done if part in one.block.text]
    assert found
    return found


def test_what_the_page_quotes_is_what_its_commands_print(done):
    for one in done:
        if one.block.printed and not one.block.text.startswith(_STARTS) and one.machine != SITES[1]:
            assert structure(one.printed) == structure(one.block.printed), one.block.text


def test_x(done):
    for one in done:
        print("=====", one.machine, one.block.text)
        print(one.printed)
    assert 0
