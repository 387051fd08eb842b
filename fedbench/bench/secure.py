"""What secure aggregation costs, at a site and at the server, for 4 to 128 sites.

All sites and the server are in one process on one core, and take turns. An eighth of the sites drop
out after they shared their secrets and before they send a vector, which is the costliest moment:
for each of them the server puts a key together and takes off its masks with all who arrived. A
site's seconds are the median over sites, in processor time; encoding the update is part of them,
training is not. Bytes are of headers and bodies, of the site that has most.

Every row is measured and none extrapolated; of the two minutes that it takes, most are for 128
sites. There the server is busy with shares (pure Python in pycryptodome, in the square of the
threshold for every secret) more than with masks.

``python -m fedbench.bench.secure`` prints what it found and writes ``build/bench/secure.json``.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import torch

from fedbench.files import write_json
from fedbench.paths import home
from fedbench.provenance import provenance
from fedbench.secure_aggregation import (
    Blocks,
    Collected,
    FixedPoint,
    Private,
    Terms,
    advertise,
    collect,
    decoded,
    deliveries,
    encoded,
    mask,
    roster,
    share,
    unmask,
    unmasked,
    usual_threshold,
)
from fedbench.secure_aggregation.masks import Words, shift

PARAMETERS = 4_000_000
COUNTS = (4, 8, 16, 32, 64, 128)
TARGET_SITES, TARGET_SECONDS = 16, 10.0  #: two of the sites drop out
EXCHANGES = ("advertise", "share", "mask", "unmask")

Row = dict[str, Any]


@dataclass
class Costs:
    """Seconds and bytes of one attempt, as they come."""

    site: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    server: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    down: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    up: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @contextmanager
    def at_site(self, exchange: str) -> Iterator[None]:
        """Time one site's part of an exchange."""
        began = time.process_time()
        yield
        self.site[exchange].append(time.process_time() - began)

    @contextmanager
    def at_server(self, exchange: str) -> Iterator[None]:
        """Time the server's part; what sites do meanwhile is subtracted."""
        began, before = time.process_time(), sum(self.site[exchange])
        yield
        spent = time.process_time() - began
        self.server[exchange] += spent - (sum(self.site[exchange]) - before)

    def travelled(self, exchange: str, down: int, up: int) -> None:
        """Count one site's bytes of an exchange; the most count."""
        self.down[exchange] = max(self.down[exchange], down)
        self.up[exchange] = max(self.up[exchange], up)


def rehearse(sites: int, parameters: int) -> Row:
    """One attempt, every part of it measured.

    The sum is held against the plain one to the precision that is promised.
    """
    wall, cpu, costs = time.perf_counter(), time.process_time(), Costs()
    names = tuple(f"site-{number:03d}" for number in range(sites))
    terms = Terms("bench", 0, 0, names, usual_threshold(sites))
    scheme = FixedPoint(sites, bound=1.0)
    update = torch.linspace(-1, 1, parameters)
    gone = set(names[: sites // 8])
    states, keys, delivered = _agreed(terms, costs)
    collected = _collected(terms, scheme, states, delivered, gone, update, costs)
    words = _unmasked(terms, states, keys, collected, costs)
    with costs.at_server("unmask"):
        total, weight = decoded(words, {"update": (parameters,)}, scheme)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    arrived = len(collected.reveal.arrived)
    off = (total["update"].double() - weight * update.double()).abs().max()
    # of the words, of the sum of weights times numbers up to 1, and of fp32
    promised = arrived * scheme.unit + weight * 2**-24
    return {
        "sites": sites,
        "parameters": parameters,
        "dropped_out": len(gone),
        "site_seconds": {name: median(costs.site[name]) for name in EXCHANGES},
        "server_seconds": {name: costs.server[name] for name in EXCHANGES},
        "bytes_down": dict(costs.down),
        "bytes_up": dict(costs.up),
        "cpu": cpu,
        "wall": wall,
        "error_in_promised": float(off) / promised,
    }


def _agreed(terms: Terms, costs: Costs) -> tuple[dict[str, Private], Blocks, dict[str, Blocks]]:
    """The first two exchanges: states of sites, the roster, and what is to be delivered."""
    states: dict[str, Private] = {}
    advertised, shared = {}, {}
    for site in terms.sites:
        with costs.at_site("advertise"):
            states[site], advertised[site] = advertise(terms, site)
        costs.travelled("advertise", _size(terms.header()), len(advertised[site]))
    with costs.at_server("advertise"):
        keys = roster(terms, advertised)
    for site in terms.sites:
        with costs.at_site("share"):
            states[site], shared[site] = share(states[site], keys)
        sent = shared[site]
        costs.travelled("share", _size(keys.header(), keys.body), _size(sent.header(), sent.body))
    with costs.at_server("share"):
        delivered = deliveries(terms, keys, shared)
    return states, keys, delivered


def _collected(
    terms: Terms,
    scheme: FixedPoint,
    states: dict[str, Private],
    delivered: Mapping[str, Blocks],
    gone: set[str],
    update: torch.Tensor,
    costs: Costs,
) -> Collected:
    """The third exchange: one vector after the other is made, sent and added."""

    def arriving() -> Iterator[tuple[str, memoryview]]:
        for number, site in enumerate(terms.sites):
            if site in gone:
                continue
            told = delivered[site]
            with costs.at_site("mask"):
                words = encoded({"update": update}, (number + 1) / len(terms.sites), scheme)
                states[site], words = mask(states[site], told, words)
            costs.travelled("mask", _size(told.header(), told.body), words.nbytes)
            yield site, words.data.cast("B")

    with costs.at_server("mask"):
        return collect(terms, terms.sites, arriving(), len(update) + 1, scheme)


def _unmasked(
    terms: Terms, states: Mapping[str, Private], keys: Blocks, collected: Collected, costs: Costs
) -> Words:
    """The last exchange: shares from all who arrived, and the masks taken off."""
    revealed, asked = {}, _size(collected.reveal.header())
    for site in collected.reveal.arrived:
        with costs.at_site("unmask"):
            _, revealed[site] = unmask(states[site], collected.reveal)
        costs.travelled("unmask", asked, len(revealed[site]))
    with costs.at_server("unmask"):
        return unmasked(terms, keys, collected, revealed)


def _size(header: Mapping[str, Any], body: bytes = b"") -> int:
    return len(json.dumps(header).encode()) + len(body)


def mask_seconds(parameters: int, repeats: int = 5) -> float:
    """Processor seconds of one mask: made, and added to a vector that is not in the cache."""
    words = np.zeros(parameters, "<u4")
    spent = []
    for number in range(repeats):
        began = time.process_time()
        shift(words, number.to_bytes(32, "big"), 1)
        spent.append(time.process_time() - began)
    return median(spent)


def measure(counts: Sequence[int] = COUNTS, parameters: int = PARAMETERS) -> dict[str, Any]:
    """A row for every number of sites."""
    rehearse(4, 1)  # what is imported on the way is not counted
    rehearse(4, parameters)  # nor memory that is touched for the first time
    return {
        "hardware": provenance("")["hardware"],
        "mask_bytes_per_second": 4 * parameters / mask_seconds(parameters),
        "rows": [rehearse(sites, parameters) for sites in counts],
    }


def table(found: Mapping[str, Any]) -> list[str]:
    """Lines that show what was measured."""
    rows = found["rows"]
    return [
        f"an eighth of the sites drop out before they send; {found['hardware']}",
        f"masks: {found['mask_bytes_per_second'] / 1e6:,.0f} MB/s",
        "               milliseconds of a core in exchanges 1 to 4",
        "sites    numbers   at a site                       at the server                   in all",
        *map(_seconds, rows),
        "sites   bytes to and from a site in exchanges 1 to 4",
        *map(_bytes, rows),
        *(_verdict(row) for row in rows if row["sites"] == TARGET_SITES),
    ]


def _seconds(row: Row) -> str:
    site, server = (
        " ".join(f"{1e3 * row[f'{who}_seconds'][name]:7.1f}" for name in EXCHANGES)
        for who in ("site", "server")
    )
    both = f"{row['cpu']:.2f} s ({row['wall']:.2f} s wall)"
    return f"{row['sites']:5} {row['parameters']:10,} {site} {server}   {both}"


def _bytes(row: Row) -> str:
    pairs = (f"{row['bytes_down'][name]:,} + {row['bytes_up'][name]:,}" for name in EXCHANGES)
    return f"{row['sites']:5}   {', '.join(pairs)}"


def _verdict(row: Row) -> str:
    met = "met" if row["cpu"] <= TARGET_SECONDS else "missed"
    return (
        f"{row['sites']} sites, {row['parameters']:,} numbers, {row['dropped_out']} dropping out: "
        f"{row['cpu']:.2f} s of a core where {TARGET_SECONDS:.0f} are allowed: {met}; the sum is "
        f"off by {row['error_in_promised']:.2f} of what is promised at most"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = measure()
    write_json(home() / "bench" / "secure.json", result)
    print("\n".join(table(result)))
