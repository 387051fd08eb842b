"""What a round's log says of its payloads: counted on the buffers and read from their headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedbench.config import RunConfig
from fedbench.errors import FedbenchError
from fedbench.messages import Messages
from fedbench.privacy.turn import WORK
from fedbench.replies import Heard

_NOBODY: Mapping[str, str] = {}


def training_record(
    round_: int, asked: Messages, heard: Heard, before: Mapping[str, str] = _NOBODY
) -> dict[str, Any]:
    """Cohort, work done, mean loss over steps, and bytes in both directions.

    The cohort are the sites whose updates were accepted; ``refused`` says why others were not,
    those too that were left out ``before`` anybody trained.
    """
    headers = [reply.header for reply in heard.replies.values()]
    refused = {**before, **heard.refused}
    return {
        "round": round_,
        "cohort": list(heard.replies),
        **({"refused": refused} if refused else {}),
        **_work(headers),
        "bytes_down": asked.n_bytes,
        "bytes_up": heard.n_bytes,
        "schemas": asked.schemas,
        **_epsilons(heard),
    }


def validation_record(asked: Messages, heard: Heard) -> dict[str, Any]:
    """Accuracy and loss over the asked sites' own validation items, weighted by their number.

    Replies are in the order of sites, because sums of floats depend on it.
    """
    headers = [reply.header for reply in heard.replies.values()]
    n = sum(header["n"] for header in headers)
    return {
        "n_validation": n,
        "validation_accuracy": sum(h["correct"] for h in headers) / n if n else None,
        "validation_loss": sum(h["loss"] for h in headers) / n if n else None,
        "bytes_validation": asked.n_bytes + heard.n_bytes,
        "schemas_validation": asked.schemas,
        **({"unheard": heard.refused} if heard.refused else {}),
    }


def _work(headers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts over sites, and the mean loss over steps; None for what sites do not say."""
    said = [name for name in WORK if all(name in header for header in headers)]
    counts = {
        name: sum(header[name] for header in headers) if name in said else None
        for name in ("steps", "examples", "tokens", "flops")
    }
    if "loss" not in said or "steps" not in said:
        return counts | {"train_loss": None}
    loss = sum(header["loss"] * header["steps"] for header in headers)
    return counts | {"train_loss": loss / max(counts["steps"] or 0, 1)}


def _epsilons(heard: Heard) -> dict[str, Any]:
    """What sites say that their examples' privacy has cost so far."""
    told = {site: r.header["epsilon"] for site, r in heard.replies.items() if "epsilon" in r.header}
    return {"epsilon": told} if told else {}


def check_that_any_was_accepted(config: RunConfig, log: Sequence[Mapping[str, Any]]) -> None:
    """Make sure that the shared adapter was learned from somebody.

    Raises:
        FedbenchError: every update of every round was refused, or every round abandoned; or a
            budget did not leave room for one.
    """
    if not log and config.privacy is not None:
        raise FedbenchError(
            f"Not one round is within privacy.epsilon = {config.privacy.epsilon:g}, or what an "
            "attempt that was cut short left of it: take a larger one, more privacy.noise, or "
            "leave noise out, which is then what all rounds need."
        )
    if any(record["cohort"] for record in log) or config.private("site") is not None:
        return  # a private round is a release even of nobody
    whys = [f"{site}: {reason}" for r in log for site, reason in r.get("refused", {}).items()]
    whys += [record["abandoned"] for record in log if "abandoned" in record]
    raise FedbenchError(
        f"Not one update was accepted in {len(log)} rounds, so nothing was learned. The first one "
        f"was lost by {(whys or ['empty cohorts'])[0]} A lower learning rate helps where updates "
        "are not finite."
    )
