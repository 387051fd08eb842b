"""What a round's log says of its payloads: counted on the buffers and read from their headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedbench.wire import decode


def training_record(
    round_: int, messages: Mapping[str, bytes], replies: Mapping[str, bytes]
) -> dict[str, Any]:
    """Cohort, work done, mean loss over steps, and bytes in both directions."""
    headers = [decode(payload)[0] for payload in replies.values()]
    steps = sum(header["steps"] for header in headers)
    return {
        "round": round_,
        "cohort": list(replies),
        "steps": steps,
        "examples": sum(header["examples"] for header in headers),
        "tokens": sum(header["tokens"] for header in headers),
        "flops": sum(header["flops"] for header in headers),
        "train_loss": sum(header["loss"] * header["steps"] for header in headers) / max(steps, 1),
        "bytes_down": sum(map(len, messages.values())),
        "bytes_up": sum(map(len, replies.values())),
    }


def validation_record(asked: Mapping[str, bytes], answered: Sequence[bytes]) -> dict[str, Any]:
    """Accuracy and loss over all sites' own validation items, weighted by their number.

    ``answered`` is in the order of sites, because sums of floats depend on it.
    """
    headers = [decode(reply)[0] for reply in answered]
    n = sum(header["n"] for header in headers)
    return {
        "n_validation": n,
        "validation_accuracy": sum(h["correct"] for h in headers) / n if n else None,
        "validation_loss": sum(h["loss"] for h in headers) / n if n else None,
        "bytes_validation": sum(map(len, asked.values())) + sum(map(len, answered)),
    }
