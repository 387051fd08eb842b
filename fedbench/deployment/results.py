"""The end of a run: the server tells every site what the federation has learned.

A site keeps it as a folder that ``peft`` loads, and asks its own test items, which no message ever
is about: what it gains, it alone knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fedbench.config import RunConfig
from fedbench.deployment.proposing import RESULT
from fedbench.evaluate import predict, score
from fedbench.federation import Federated
from fedbench.models.deltas import fold
from fedbench.models.tensors import Tensors, load_tensors
from fedbench.rules.rule import Message
from fedbench.site import SiteContext, check_delta, message_tensors
from fedbench.streams import generator
from fedbench.tokens import Tokenised
from fedbench.wire import BadPayload, encode, framed, opened, seal, tensors_of
from fedbench.wire.codecs import codec_of

ADAPTER = "adapter"  #: a folder
_FORM = codec_of("fp32")


class Told(dict[str, bytes]):
    """The same message to all sites."""

    def seal(self, site: str) -> str:
        """By what the reply of a site refers to its message."""
        return seal(self[site])


def told(config: RunConfig, sites: list[str], result: Federated) -> Told:
    """What the server tells sites at the end."""
    header = {"kind": RESULT, "run": config.id, "round": config.rounds}
    tensors = message_tensors(Message(result.adapter, {}, result.delta))
    payload = encode(header, tensors, _FORM, generator("rounding", "result"))
    return Told(dict.fromkeys(sites, payload))


def learned(context: SiteContext, payload: bytes) -> tuple[Tensors, Tensors]:
    """The adapter of a result, and what was added to the backbone's weights.

    Raises:
        BadPayload: it is not what this run's model can have learned.
    """
    header, body = opened(payload)
    room = sum(parameter.numel() for parameter in context.model.parameters())
    adapter, delta = _parts(tensors_of(header, body, {}, 4 * room))
    check_delta(context.config, delta)
    try:
        fold(context.model, delta)
        load_tensors(context.model, adapter)
    except ValueError as error:
        raise BadPayload(f"A result does not fit the model: {error}.") from None
    return adapter, delta


def acknowledged(kind: str, site: str, payload: bytes) -> bytes:
    """The answer to how a run ended: that its result is kept, or that it is known to be off."""
    return framed({"kind": kind, "site": site, "answers": seal(payload)}, b"")


def _parts(tensors: Tensors) -> tuple[Tensors, Tensors]:
    parts: dict[str, Tensors] = {"adapter": {}, "delta": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        if part not in parts or not torch.isfinite(tensor).all():
            raise BadPayload("A result holds what no adapter is made of.")
        parts[part][rest] = tensor
    return parts["adapter"], parts["delta"]


def worth(
    context: SiteContext, items: Sequence[tuple[Tokenised, int]], adapter: Tensors, delta: Tensors
) -> tuple[int, int]:
    """How many of a site's own items are answered rightly without what was learned, and with it."""

    def right(adapter: Tensors, delta: Tensors) -> int:
        fold(context.model, delta)
        load_tensors(context.model, adapter)
        asked, mean = [tokens for tokens, _ in items], context.length_normalised
        answers = predict(score(context.model, asked, context.config.device, mean=mean))
        return sum(int(a == gold) for a, (_, gold) in zip(answers, items, strict=True))

    return right(dict(context.initial), {}), right(adapter, delta)


def readme(config: RunConfig) -> str:
    """What README.md says of the adapter of a federation."""
    facts: dict[str, Any] = {
        "Task": config.task,
        "Method": config.method,
        "Rule": config.rule,
        "Rounds": config.rounds,
        "Run": f"`{config.id}`",
        "Backbone": f"`{config.backbone}`",
        "Privacy": "none promised" if config.privacy is None else f"of every {config.privacy.unit}",
        "Secure aggregation": "no" if config.secure is None else "yes",
    }
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    head = f"# {config.task}: {config.method}, learned by a federation between machines"
    load = (
        "`peft.PeftModel.from_pretrained(backbone, FOLDER)` loads it. It was learned from examples "
        "that stayed where they are; an adapter can tell something of them all the same."
    )
    return "\n\n".join([head, "\n".join(lines), load]) + "\n"
