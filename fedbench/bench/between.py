"""What a federation takes between machines beyond training: Flower's part, bytes, memory, lines.

All of it is measured on one machine, over loopback or between namespaces with a rate, so that one
clock tells what happens at both ends (:mod:`fedbench.bench.watching`). In five legs:

- ``flower``: empty messages through Flower as it comes;
- ``floor``: the same through Flower as we start it, with nothing behind it;
- ``pause``: how often the engine should look for replies;
- ``rounds``: a small federation beside the same one in process, in what it is made of;
- ``lines``: a larger one over lines of several rates, beside what ``report.traffic`` computes.

``python -m fedbench.bench.between [LEG ...]`` measures these, or all, and prints what
``build/bench/between.json`` then has; with ``--record`` that is written to ``data/costs`` and drawn
in ``figures/bench``. It takes
twenty minutes, most of them asleep, and a machine that does little else. ``lines`` needs a checkout
with its tests, and a system where everybody may make network namespaces.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedbench.bench import as_it_comes
from fedbench.bench.between_figure import FIGURES, save
from fedbench.bench.between_table import table
from fedbench.bench.echoes import Echoes, echoed
from fedbench.bench.pairs import spread
from fedbench.bench.watching import PARTS, module
from fedbench.engines.over_flower import OverFlower
from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json
from fedbench.paths import home
from fedbench.provenance import provenance
from fedbench.report.traffic import traffic

NODES, AS_IT_COMES, EXCHANGES = (1, 2, 4, 8), (1, 2), 10
PAUSES = (0.05, 0.1, 0.2, 0.5)
SHORT = 0.2  #: seconds that a SuperNode would sleep for if it were for us
SITES, ROUNDS = (2, 4, 8), 6  #: the first does not count
RATES = (1, 10, 100)  #: Mbit/s of each site's line, in either direction
CODECS = (("fp32", "fp32"), ("int8", "int8"), ("ef+top-k:share=0.01+int8", "delta+int8"))
_SMALL = {
    "task": "lookalike_fpb", "passes": 1, "train_limit": 64, "validation_limit": 16,
    "test_limit": 16, "generated": 0,
}  # fmt: skip
_RANK = 32  #: on lines: 2.3 MB in fp32
RECORD = Path("data/costs/between.json")  #: in the checkout

Row = dict[str, Any]


def floor() -> dict[str, Any]:
    """Empty messages: for many nodes at once, and what each way of ours saves."""
    pause = OverFlower.pause
    ours = [_echoes(Echoes(nodes, EXCHANGES, pause)) for nodes in NODES]
    waits = _echoes(Echoes(2, EXCHANGES, pause, own_grid=False))
    short = _echoes(Echoes(2, EXCHANGES, pause, sleep=SHORT))
    return {"ours": ours, "flowers_grid": waits, "shorter_sleep": short}


def flower() -> list[Row]:
    """Empty messages through Flower as it comes."""
    return [_as_it_comes(nodes) for nodes in AS_IT_COMES]


def pauses() -> list[Row]:
    """Empty messages to two nodes, by how often replies are looked for."""
    return [_echoes(Echoes(2, EXCHANGES, pause)) for pause in PAUSES]


def _echoes(plan: Echoes) -> Row:
    with tempfile.TemporaryDirectory(prefix="fedbench-") as folder:
        found, share = echoed(plan, Path(folder))
    known = {"nodes": plan.nodes, "pause": plan.pause, "busy": share}
    return known | _spreads(found, ("seconds", *PARTS))


def _as_it_comes(nodes: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="fedbench-") as folder:
        seconds = as_it_comes.echoed(nodes, EXCHANGES, Path(folder))
    return {"nodes": nodes, "seconds": spread(seconds).numbers}


def rounds() -> list[Row]:
    """A small federation over loopback, for several numbers of sites.

    Empty messages are sent right after each, so that both are of the same minutes of the machine.
    """
    return [_round(sites) for sites in SITES]


def _round(sites: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="fedbench-") as folder:
        options = _SMALL | {"rounds": ROUNDS, "partition": {"sites": sites}}
        plan, result = _planned(options, "127.0.0.1", (), Path(folder))
        done = subprocess.run(module("far", "run", plan, result), capture_output=True, text=True)
        found = _result(result, done)
    kept = {name: found[name] for name in ("same", "bytes", "memory")}
    return kept | {
        "sites": sites,
        "floor": _echoes(Echoes(sites, EXCHANGES // 2, OverFlower.pause))["seconds"],
        "round": spread(found["rounds"]).numbers,
        "in_process": spread(found["in_process"]).numbers,
        "train": _spreads(found["exchanges"][::2], ("seconds", *PARTS)),
        "validate": _spreads(found["exchanges"][1::2], ("seconds", *PARTS)),
    }


def lines() -> list[Row]:
    """A larger federation of two sites, each of which has a line of its own of some rate.

    What a machine sends is slowed. The server's line is twice as fast as a site's, so that each of
    the two is sent what its own line would take.
    """
    rows = [_line(rate, *codecs) for rate in RATES for codecs in CODECS]
    return [*rows, _line(min(RATES), "int8", "int8", own_grid=False)]


def _line(rate: int, codec: str, codec_down: str, own_grid: bool = True) -> Row:
    from tests.machines import ADDRESSES, run_in_world

    server, *sites = ADDRESSES
    with tempfile.TemporaryDirectory(prefix="fedbench-") as folder:
        options = _SMALL | {
            "rounds": 2 if rate == min(RATES) else 3, "rank": _RANK, "partition": {"sites": 2},
            "codec": codec, "codec_down": codec_down,
        }  # fmt: skip
        plan, result = _planned(options, ADDRESSES[server], sites, Path(folder), own_grid)
        command = shlex.join(module("far", "run", plan, result))
        rates = {server: f"{2 * rate}mbit", **dict.fromkeys(sites, f"{rate}mbit")}
        done = run_in_world(f"on {server} {command}", rates=rates, timeout=900)
        found = _result(result, done)
    schema = tuple((name, tuple(shape)) for name, shape in found["schema"])
    computed = traffic(schema, codec, codec_down)
    work = [one["work"] for one in found["exchanges"]]
    n = len(found["rounds"])
    return {
        "own_grid": own_grid,
        "mbit": rate,
        "codec": codec,
        "codec_down": codec_down,
        "round": spread(found["rounds"]).numbers,
        "work": sum(work) / n,
        "bytes": found["bytes"],
        "bytes_computed": computed.round,
        "bytes_measured": (found["bytes"]["payloads_down"] + found["bytes"]["payloads_up"]) / 2 / n,
        "seconds_computed": 8 * computed.round / (rate * 1e6),
    }


def _planned(
    options: Mapping[str, Any],
    host: str,
    machines: Sequence[str],
    folder: Path,
    own_grid: bool = True,
) -> tuple[Path, Path]:
    """A file with what to do, and the one for what is found."""
    plan = {
        "options": dict(options), "host": host, "machines": list(machines), "own_grid": own_grid,
    }  # fmt: skip
    write_json(folder / "plan.json", plan)
    return folder / "plan.json", folder / "found.json"


def _result(path: Path, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    if done.returncode or not path.exists():
        raise FedbenchError(f"A federation that was to be measured failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = read_json(path)
    return found


def _spreads(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> Row:
    return {name: spread([row[name] for row in rows]).numbers for name in names}


LEGS: Mapping[str, Callable[[], Any]] = {
    "flower": flower, "floor": floor, "pause": pauses, "rounds": rounds, "lines": lines,
}  # fmt: skip


def measured(leg: str) -> dict[str, Any]:
    """What a leg found, how busy the machine was before and after it, and where it was."""
    before = os.getloadavg()[0]
    found = LEGS[leg]()
    origin = provenance("")
    return {
        "found": found,
        "load": [before, os.getloadavg()[0]],
        "commit": origin["commit"],
        "hardware": origin["hardware"],
    }


def record(found: Mapping[str, Any]) -> None:
    """Keep what was measured, and draw it.

    Raises:
        FedbenchError: a leg is missing.
    """
    if missing := LEGS.keys() - found.keys():
        raise FedbenchError(f"Measure {' and '.join(sorted(missing))} before it is recorded.")
    legs = {leg: found[leg] for leg in LEGS}
    write_json(RECORD, legs)
    save(legs, FIGURES)


def main() -> None:
    """Measure, print, and perhaps record."""
    parser = argparse.ArgumentParser(prog="python -m fedbench.bench.between")
    parser.add_argument("legs", nargs="*", help=f"of {', '.join(LEGS)}; none: all")
    parser.add_argument(
        "--record", action="store_true", help=f"write {RECORD} and {FIGURES}/between.*"
    )
    asked = parser.parse_args()
    if unknown := [leg for leg in asked.legs if leg not in LEGS]:
        parser.error(f"there is no leg {unknown[0]}: name some of {', '.join(LEGS)}")
    path = home() / "bench" / "between.json"
    for leg in asked.legs or LEGS:
        before = read_json(path) if path.exists() else {}
        write_json(path, {k: v for k, v in before.items() if k in LEGS} | {leg: measured(leg)})
    found = read_json(path)
    if asked.record:
        record(found)
    print("\n".join(table(found)) if found.keys() >= LEGS.keys() else json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
