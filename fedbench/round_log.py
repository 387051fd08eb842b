"""What a round's log says of its payloads: counted on the buffers and read from their headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedbench.replies import Reply


def training_record(round_: int, bytes_down: int, replies: Mapping[str, Reply]) -> dict[str, Any]:
    """Cohort, work done, mean loss over steps, and bytes in both directions."""
    headers = [reply.header for reply in replies.values()]
    steps = sum(header["steps"] for header in headers)
    return {
        "round": round_,
        "cohort": list(replies),
        "steps": steps,
        "examples": sum(header["examples"] for header in headers),
        "tokens": sum(header["tokens"] for header in headers),
        "flops": sum(header["flops"] for header in headers),
        "train_loss": sum(header["loss"] * header["steps"] for header in headers) / max(steps, 1),
        "bytes_down": bytes_down,
        "bytes_up": sum(reply.n_bytes for reply in replies.values()),
    }


def validation_record(bytes_down: int, replies: Mapping[str, Reply]) -> dict[str, Any]:
    """Accuracy and loss over the asked sites' own validation items, weighted by their number.

    ``replies`` are in the order of sites, because sums of floats depend on it.
    """
    headers = [reply.header for reply in replies.values()]
    n = sum(header["n"] for header in headers)
    return {
        "n_validation": n,
        "validation_accuracy": sum(h["correct"] for h in headers) / n if n else None,
        "validation_loss": sum(h["loss"] for h in headers) / n if n else None,
        "bytes_validation": bytes_down + sum(reply.n_bytes for reply in replies.values()),
    }
