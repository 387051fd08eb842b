"""Lines that show what was measured between machines (:mod:`fedbench.bench.between`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

TARGET = 1.0  #: seconds of an exchange above Flower's part and the sites' work, at most
PARTS = {
    "push": "handed to the SuperLink",
    "wait": "until the SuperNode looks",
    "down": "to the site's process",
    "work": "work of the site",
    "over": "handed to the SuperNode",
    "back": "until the server has it",
}


def table(found: Mapping[str, Row]) -> list[str]:
    """What was measured, in lines for a page."""
    flower, floor, pause, rounds, lines = (found[name]["found"] for name in _LEGS)
    loads = ", ".join(
        f"{name} {found[name]['load'][0]:.1f} to {found[name]['load'][1]:.1f}" for name in _LEGS
    )
    return [
        f"loopback, all on one machine: {found['floor']['hardware']}",
        f"load average while measuring: {loads}",
        "",
        *_floor(flower, floor),
        "",
        *_pause(pause),
        "",
        *_rounds(rounds),
        "",
        *_bytes(rounds, lines),
        "",
        *_memory(rounds),
        "",
        *_lines(lines, floor["ours"]),
    ]


_LEGS = ("flower", "floor", "pause", "rounds", "lines")


def _spread(one: Row) -> str:
    return f"{one['median']:7.2f} [{one['lowest']:.2f}, {one['highest']:.2f}]"


def _floor(flower: Sequence[Row], floor: Row) -> Iterator[str]:
    rows = [
        *((f"Flower as it comes, {_nodes(one)}", one) for one in flower),
        *((f"ours, {_nodes(one)}", one) for one in floor["ours"]),
        ("ours with Flower's grid, 2 nodes", floor["flowers_grid"]),
        ("ours if SuperNodes slept 0.2 s, 2 nodes", floor["shorter_sleep"]),
    ]
    n = rows[0][1]["seconds"]["n"]
    pause = floor["ours"][0]["pause"]
    yield f"seconds of an exchange of empty messages: median [lowest, highest], n = {n};"
    yield f"ours look for replies every {pause:g} s, Flower's own loop every 3 s"
    for name, one in rows:
        yield f"{name:42}{_spread(one['seconds'])}"
    two = floor_of(2, floor["ours"])
    yield "of which, for the last of 2 nodes to answer:"
    for part, said in PARTS.items():
        yield f"  {said:40}{_spread(two[part])}"


def _nodes(one: Row) -> str:
    return "1 node" if one["nodes"] == 1 else f"{one['nodes']} nodes"


def floor_of(nodes: int, ours: Sequence[Row]) -> Row:
    """What exchanges of empty messages with so many nodes took."""
    return next(one for one in ours if one["nodes"] == nodes)


def _pause(pause: Sequence[Row]) -> Iterator[str]:
    yield "2 nodes, by seconds between two looks for replies, and the share of a core for looking"
    for one in pause:
        yield f"{one['pause']:<42.2f}{_spread(one['seconds'])}  {100 * one['busy']:3.0f} %"


def above(one: Row, kind: str) -> float:
    """Seconds of an exchange above Flower's part and the site's work: transfer, and the rest."""
    exchange, floor = one[kind], one["floor"]["median"]
    return float(exchange["seconds"]["median"] - exchange["work"]["median"] - floor)


def _rounds(rounds: Sequence[Row]) -> Iterator[str]:
    yield "a small federation (1.2 MB each way); medians of seconds"
    yield "sites  round  in process | exchange:  all   work  floor  above | the same bits"
    for one in rounds:
        for kind in ("train", "validate"):
            exchange, floor = one[kind], one["floor"]["median"]
            head = (
                f"{one['sites']:5} {one['round']['median']:6.2f} "
                f"{one['in_process']['median']:11.2f}"
            )
            yield (
                f"{head if kind == 'train' else '':24} | {kind:9}"
                f"{exchange['seconds']['median']:6.2f} {exchange['work']['median']:6.2f} "
                f"{floor:6.2f} {above(one, kind):6.2f} | {'yes' if one['same'] else 'NO'}"
            )
    worst = max(above(one, kind) for one in rounds for kind in ("train", "validate"))
    met = "met" if worst <= TARGET else "missed"
    yield f"above floor and work at most {TARGET:.0f} s: {worst:.2f} s, {met}"


def _bytes(rounds: Sequence[Row], lines: Sequence[Row]) -> Iterator[str]:
    yield "bytes beside payloads"
    for one in rounds:
        told = one["bytes"]
        down, up = (
            (told[counted] - told[payloads]) / told["messages"]
            for counted, payloads in (("sent", "payloads_down"), ("received", "payloads_up"))
        )
        yield f"{one['sites']} sites: Flower counts {down:,.0f} a message more down, {up:,.0f} up"
    shares = [
        (told["tx"] + told["rx"]) / (told["payloads_down"] + told["payloads_up"]) - 1
        for told in (one["bytes"] for one in lines)
    ]
    yield (
        f"on the wire (TLS, TCP, looking for messages): {100 * min(shares):.1f} to "
        f"{100 * max(shares):.1f} % more than payloads, by codec and rate"
    )


def _memory(rounds: Sequence[Row]) -> Iterator[str]:
    yield "MiB at most: the server, its SuperLink, the largest process of a site, its SuperNode"
    for one in rounds:
        kinds = ("server", "superlink", "site", "supernode")
        peaks = " ".join(f"{max(one['memory'][kind]):6.0f}" for kind in kinds)
        yield f"{one['sites']} sites {peaks}"


def transfer(line: Row, ours: Sequence[Row]) -> float:
    """Seconds of a round that are neither Flower's part of its two exchanges nor work."""
    floor = floor_of(2, ours)["seconds"]["median"]
    return float(line["round"]["median"] - line["work"] - 2 * floor)


def _lines(lines: Sequence[Row], ours: Sequence[Row]) -> Iterator[str]:
    yield "2 sites with lines of their own between namespaces of one machine, 2.3 MB in fp32:"
    yield "a round, and what is left of it without floor and work, beside bytes and rate alone"
    yield "Mbit/s codec up                   MB a round (computed)    round      left  computed"
    for one in lines:
        codec = one["codec"] if one["own_grid"] else f"{one['codec']}, Flower's grid"
        computed = f"({one['bytes_computed'] / 1e6:.3f})"
        seconds = (one["round"]["median"], transfer(one, ours), one["seconds_computed"])
        yield (
            f"{one['mbit']:6} {codec:26}{one['bytes_measured'] / 1e6:8.3f} {computed:>12}"
            + "".join(f"{each:10.2f}" for each in seconds)
        )
