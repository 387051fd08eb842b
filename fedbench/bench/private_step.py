"""What privacy of examples costs a training step: clipped by example and noised, beside plain.

Both gradients are of the same batches of the look-alike of FPB, by method; in a repeat each takes
its turn. A private gradient takes a backward pass per example, and nothing is shared by a batch.

``python -m fedbench.bench.private_step`` prints what it found and writes
``build/bench/private_step.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from fedbench.bench.pairs import interleaved, ratios, spread
from fedbench.config import RunConfig
from fedbench.files import write_json
from fedbench.models.attached import attached
from fedbench.paths import home
from fedbench.prepare import Prepared, prepare
from fedbench.privacy.noise import simulated
from fedbench.privacy.per_example import private
from fedbench.provenance import provenance
from fedbench.resolving import resolve
from fedbench.seeding import single_thread
from fedbench.tokens import Answered, training_sequence
from fedbench.train import Gradient, by_batch

METHODS = ("lora", "ia3", "full")
BATCH, STEPS, REPEATS = 8, 8, 5
CLIP, NOISE = 1.0, 1.0

Batches = Sequence[Sequence[Answered]]


def measure(
    methods: Sequence[str] = METHODS, steps: int = STEPS, repeats: int = REPEATS
) -> dict[str, Any]:
    """Milliseconds of a plain and of a private gradient by method, and their ratio by repeat."""
    with single_thread():
        found = {method: _of_method(method, steps, repeats) for method in methods}
    return {"hardware": provenance("")["hardware"], "batch_size": BATCH, "methods": found}


def _of_method(method: str, steps: int, repeats: int) -> dict[str, Any]:
    config = resolve(RunConfig(task="lookalike_fpb", method=method))
    held = _sequences(prepare(config))
    chosen = [held[i : i + BATCH] for i in range(0, BATCH * steps, BATCH)]
    with attached(config) as model:
        plain = by_batch(model, config)
        noisy = private(plain, CLIP, NOISE, BATCH, simulated("bench", method))
        sides = {"plain": plain, "private": noisy}
        calls = {name: partial(_all, model, side, chosen) for name, side in sides.items()}
        for call in calls.values():
            call()  # the first steps of a process are slower than all others
        seconds = interleaved(calls, repeats)
    return {
        **{name: spread([1e3 * s / steps for s in each]).numbers for name, each in seconds.items()},
        "times_plain": ratios(seconds["private"], seconds["plain"]).numbers,
    }


def _sequences(prepared: Prepared) -> list[Answered]:
    end = prepared.tokenizer.eos_token_id
    pairs = zip(prepared.of_split("train"), prepared.tokenised("train"), strict=True)
    return [training_sequence(example, tokens, end) for example, tokens in pairs]


def _all(model: nn.Module, gradient: Gradient, batches: Batches) -> None:
    for batch in batches:
        gradient(model, batch)
        model.zero_grad(set_to_none=True)


def table(found: Mapping[str, Any]) -> list[str]:
    """Lines that show what was measured."""
    lines = [
        f"batches of {found['batch_size']}, milliseconds a gradient; {found['hardware']}",
        f"{'method':8}{'plain':>10}{'private':>10}{'times plain':>24}",
    ]
    for name, one in found["methods"].items():
        ratio = one["times_plain"]
        between = f"{ratio['median']:.2f} [{ratio['lowest']:.2f}, {ratio['highest']:.2f}]"
        times = f"{one['plain']['median']:>10.2f}{one['private']['median']:>10.2f}"
        lines.append(f"{name:8}{times}{between:>24}")
    return lines


if __name__ == "__main__":
    result = measure()
    write_json(home() / "bench" / "private_step.json", result)
    print("\n".join(table(result)))
