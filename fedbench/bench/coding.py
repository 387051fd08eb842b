"""How fast codecs write and read: megabytes of fp32 numbers per second of one core.

One matrix of 4096 x 4096 normal numbers, 64 MiB. Timed are ``Codec.encode`` and ``Codec.decode`` by
themselves; a payload's checksum and its way to the disk come on top. CPU seconds are counted, so
that others on the machine do not slow a codec down. A link of 1 Gbit/s carries 125 MB/s of what a
codec makes.

``python -m fedbench.bench.coding`` prints what it found and writes ``build/bench/coding.json``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch

from fedbench.files import write_json
from fedbench.paths import home
from fedbench.provenance import provenance
from fedbench.wire.codecs import codec_of
from fedbench.wire.schema import count, schema_of

SIDE, REPEATS = 4096, 5
CODECS = (
    *("fp16", "bf16", "int8", "int4", "sign", "top-k:share=0.01"),
    *("top-k:share=0.01+int8", "low-rank"),
)
TARGET = 500  #: MB/s of fp32 that int8 must write, and read, on one core


def measure(
    side: int = SIDE, repeats: int = REPEATS, codecs: Sequence[str] = CODECS
) -> dict[str, Any]:
    """CPU seconds of every repeat by codec, and the median as megabytes of fp32 per second."""
    values = np.random.default_rng(0).standard_normal((side, side), dtype=np.float32)
    tensors = {"weight": torch.from_numpy(values)}
    numbers = count(schema_of(tensors))
    return {
        "hardware": provenance("")["hardware"],
        "numbers": numbers,
        "threads": torch.get_num_threads(),
        "codecs": {name: _timed(name, tensors, numbers, repeats) for name in codecs},
    }


def _timed(
    name: str, tensors: Mapping[str, torch.Tensor], numbers: int, repeats: int
) -> dict[str, Any]:
    codec, schema = codec_of(name), schema_of(tensors)
    random = np.random.default_rng(1)
    parts = codec.encode(tensors, random)  # pages that are touched first are not counted
    codec.decode(parts, schema)
    wrote = sorted(_seconds(lambda: codec.encode(tensors, random)) for _ in range(repeats))
    read = sorted(_seconds(lambda: codec.decode(parts, schema)) for _ in range(repeats))
    return {
        "bytes_per_number": codec.n_bytes(schema) / numbers,
        "encode_seconds": wrote,
        "decode_seconds": read,
        "encode": 4 * numbers / 1e6 / median(wrote),
        "decode": 4 * numbers / 1e6 / median(read),
    }


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def table(found: Mapping[str, Any]) -> list[str]:
    """Lines that show what was measured, and whether int8 is as fast as it should be."""
    lines = [
        f"{found['numbers'] / 1e6:.1f} million numbers, {found['threads']} thread; "
        f"{found['hardware']}",
        f"{'codec':24}{'bytes/number':>14}{'encode MB/s':>14}{'decode MB/s':>14}",
    ]
    for name, one in found["codecs"].items():
        speeds = f"{one['encode']:>14,.0f}{one['decode']:>14,.0f}"
        lines.append(f"{name:24}{one['bytes_per_number']:>14.3f}{speeds}")
    if "int8" in found["codecs"]:
        slower = min(found["codecs"]["int8"][way] for way in ("encode", "decode"))
        verdict = "met" if slower >= TARGET else "missed"
        lines.append(f"int8 at {TARGET} MB/s or more: {verdict} ({slower:,.0f})")
    return lines


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = measure()
    write_json(home() / "bench" / "coding.json", result)
    print("\n".join(table(result)))
