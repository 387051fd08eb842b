"""What a server needs for the adapters of 64 sites on a backbone of seven billion parameters.

Updates have the shapes of LoRA of rank 16 on all linear layers of Llama 2 7B (Touvron et al.,
arXiv:2307.09288): 40 million numbers. FedAvg adds them up in one pass: a site's update and the sum
are read, and the sum is written, so that its speed can be held against that of copying memory. The
loop also measures how far updates lie apart, which takes a pass of its own: timed apart, and in the
memory.
Rules that factor products again work on one layer at a time: one of them is measured, and all of
them together are said to take so many times as long.

``python -m fedbench.bench.aggregation`` prints what it found and writes
``build/bench/aggregation.json``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch

from fedbench.energy.memory import peak_bytes, reset_peak
from fedbench.files import write_json
from fedbench.heterogeneity import Spread, watched
from fedbench.models.tensors import Tensors, count_bytes
from fedbench.paths import home
from fedbench.provenance import provenance
from fedbench.reduction import weighted_sum
from fedbench.rules import rule_of
from fedbench.rules.rule import Contribution, Message

SITES, RANK, LAYERS, REPEATS = 64, 16, 32, 5
_HIDDEN, _FEED = 4096, 11008
#: by module of a layer: inputs and outputs
_MODULES: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj"), (_HIDDEN, _HIDDEN)),
    **dict.fromkeys(("gate_proj", "up_proj"), (_HIDDEN, _FEED)),
    "down_proj": (_FEED, _HIDDEN),
}
FACTORING = ("flexlora",)  #: rules whose server decomposes products


def adapter(layers: int) -> Tensors:
    """An adapter of so many layers; its numbers do not matter."""
    shapes = {
        f"layers.{layer}.{module}.lora_{factor}.default.weight": shape
        for layer in range(layers)
        for module, (width, out) in _MODULES.items()
        for factor, shape in (("A", (RANK, width)), ("B", (out, RANK)))
    }
    return {name: torch.ones(shape) for name, shape in shapes.items()}


def measure(sites: int = SITES, layers: int = LAYERS, repeats: int = REPEATS) -> dict[str, Any]:
    """Bytes per second of a copy and of FedAvg's pass, its memory, seconds of rules that factor.

    Memory is that of the first pass above what is resident before, in adapters: an update and the
    sum, later the sum and the new state. The old state, which a server has anyway, was there.
    """
    _watched(adapter(1), 1, sites)  # what is imported on the way is not counted
    state = adapter(layers)
    size = count_bytes(state)
    reset_peak()
    before = peak_bytes("cpu")
    _watched(state, layers, sites)
    peak = peak_bytes("cpu") - before
    copied, passed = [], [_timed(lambda: _fedavg(state, layers, sites)) for _ in range(repeats)]
    watched_too = [_timed(lambda: _watched(state, layers, sites)) for _ in range(repeats)]
    source = torch.ones(size // 4)
    target = torch.zeros_like(source)
    for _ in range(repeats):
        copied.append(_timed(lambda: target.copy_(source)))
    copy, summed = 2 * size / median(copied), _moved(size, sites) / median(passed)
    return {
        "hardware": provenance("")["hardware"],
        "sites": sites,
        "layers": layers,
        "adapter_bytes": size,
        "seconds": sorted(passed),
        "seconds_with_spread": sorted(watched_too),
        "copy_bytes_per_second": copy,
        "fedavg_bytes_per_second": summed,
        "share_of_copy": summed / copy,
        "peak_in_adapters": peak / size,
        "seconds_per_layer": {n: _timed(partial(_factored, n, sites)) for n in FACTORING},
    }


def _moved(size: int, sites: int) -> int:
    """Bytes of FedAvg's pass: the first update is read and written, others read beside the sum."""
    return size * (2 + 3 * (sites - 1))


def _fedavg(state: Tensors, layers: int, sites: int) -> None:
    rule_of("fedavg").server(state, weighted_sum(_same(layers, sites)))


def _watched(state: Tensors, layers: int, sites: int) -> None:
    """The same as the loop does it: with the spread of updates."""
    rule, message = rule_of("fedavg"), Message(state, {})
    heard = ((f"site-{n}", each) for n, each in enumerate(_same(layers, sites)))
    spread = Spread(borrows=True)
    given = weighted_sum(watched(rule, lambda site: message, heard, spread))
    spread.total = given.total
    rule.server(state, given)
    assert spread.value is not None


def _same(layers: int, sites: int) -> Iterator[Contribution]:
    """One update from every site: what differs between sites does not change the work."""
    update = adapter(layers)
    for site in range(sites):
        yield Contribution(update, float(site + 1))


def _factored(name: str, sites: int) -> None:
    """One layer of the server's step of a rule that is given every contribution."""
    rule, state = rule_of(name), adapter(1)
    started = rule.init(state, SimpleNamespace(method="lora"))  # type: ignore[arg-type]
    random = torch.Generator().manual_seed(1)
    updates = [
        Contribution({n: torch.randn(t.shape, generator=random) for n, t in state.items()}, 1.0)
        for _ in range(sites)
    ]
    rule.server(started, iter(updates))


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def table(found: Mapping[str, Any]) -> Sequence[str]:
    """Lines that show what was measured."""
    seconds = found["seconds"]
    return [
        f"{found['sites']} sites, adapters of {found['adapter_bytes'] / 1e6:.0f} MB; "
        f"{found['hardware']}",
        f"FedAvg in one pass: {median(seconds):.2f} s ({seconds[0]:.2f} to {seconds[-1]:.2f}), "
        f"{found['fedavg_bytes_per_second'] / 1e9:.1f} GB/s, "
        f"{found['share_of_copy']:.2f} of a copy's {found['copy_bytes_per_second'] / 1e9:.1f} GB/s",
        f"with the spread of updates: {median(found['seconds_with_spread']):.2f} s",
        f"memory beside the state: {found['peak_in_adapters']:.2f} adapters",
        *(
            f"{name}: {each:.1f} s a layer, {each * found['layers']:.0f} s for all "
            f"{found['layers']} (one layer measured, the rest extrapolated)"
            for name, each in found["seconds_per_layer"].items()
        ),
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = measure()
    write_json(home() / "bench" / "aggregation.json", result)
    print("\n".join(table(result)))
